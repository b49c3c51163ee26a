"""An S3-compatible object store through boto3: AWS, SeaweedFS, MinIO, Ceph and others with conditional writes."""

import contextlib
import io
import re
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from botocore.exceptions import ClientError
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from modelmill.core import digest
from modelmill.core.errors import UserError
from modelmill.store.base import KeyNotFound, Stat, StoreAway, StoreError, Versioned
from modelmill.store.conditional import check_conditional_writes
from modelmill.store.s3_client import TRANSFER, connect
from modelmill.store.s3_errors import ERRORS, code_of, is_missing, is_passing, reason_of
from modelmill.store.s3_stream import Body

# S3 refuses a conditional write while another one of the same key is on its way.
_try_again = Retrying(
    retry=retry_if_exception(lambda error: code_of(error) in {"ConditionalRequestConflict", "OperationAborted", "409"}),
    wait=wait_random_exponential(multiplier=0.05),
    stop=stop_after_attempt(8),
    reraise=True,
)


class S3Store:
    """An object store below `s3://bucket/prefix`.

    Endpoint, credentials and region are those that boto3 finds: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID,
    AWS_SECRET_ACCESS_KEY, AWS_PROFILE, AWS_DEFAULT_REGION, the files in ~/.aws or the machine's role.

    A writer that is killed in the middle of an upload leaves no object, but parts that a lifecycle rule of the bucket
    (AbortIncompleteMultipartUpload) has to clear.
    """

    def __init__(self, uri: str, endpoint: str | None = None) -> None:
        """Make the client; nothing is asked of the store yet.

        Args:
            uri: `s3://BUCKET/PREFIX`.
            endpoint: URL in place of the one that boto3 finds.

        Raises:
            UserError: The URI names no bucket, or holds credentials.
            StoreError: boto3's settings (profile, endpoint, region) cannot be used.
        """
        self._bucket, self._prefix = _parse(uri)
        self.uri = f"s3://{self._bucket}/{self._prefix}".rstrip("/")
        self._client: Any = None
        # Given an endpoint that is no URL, boto3 raises a bare ValueError.
        with self._explained("", ValueError):
            self._client = connect(endpoint)

    def get(self, key: str) -> bytes:
        """Return the object's bytes."""
        return self.read(key).data

    def read(self, key: str) -> Versioned:
        """Return the object's bytes with their ETag."""
        with self._body(key) as body:
            return Versioned(body.readall(), body.tag)

    def open(self, key: str) -> BinaryIO:
        """Open a stream over the object, which goes on where a connection breaks."""
        return cast(BinaryIO, io.BufferedReader(self._body(key), digest.CHUNK))

    def put(self, key: str, data: bytes) -> None:
        """Write the object, whatever was there."""
        with self._explained(key):
            self._client.put_object(**self._at(key), Body=data)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write the object unless the key exists; return whether it was written."""
        return self._put_on_condition(key, data, IfNoneMatch="*")

    def compare_and_swap(self, key: str, data: bytes, tag: str) -> bool:
        """Replace the version that has the tag; return False if the key holds another version or none."""
        return self._put_on_condition(key, data, IfMatch=tag)

    def upload(self, key: str, path: Path) -> None:
        """Write a file of any size, in parallel parts."""
        with self._explained(key):
            self._client.upload_file(str(path), self._bucket, self._name(key), Config=TRANSFER)

    def download(self, key: str, path: Path) -> None:
        """Read an object of any size into a file, in parallel parts; the file appears whole or not at all."""
        try:
            with self._explained(key):
                # Writes to a temporary file beside the target, which it moves into place at the end or removes.
                self._client.download_file(self._bucket, self._name(key), str(path), Config=TRANSFER)
        except OSError as error:
            raise StoreError(f"{path}: cannot be written ({error.strerror})") from error

    def copy(self, key: str, source: "S3Store", source_key: str) -> bool:
        """Have the server copy an object of another store into this one.

        Args:
            key: Key of the copy.
            source: Store that holds the object.
            source_key: Key of the object.

        Returns:
            False, and nothing is copied, where the stores are on two servers.
        """
        if source._endpoint() != self._endpoint():
            return False
        with self._explained(key):
            self._client.copy(source._at(source_key), **self._at(key), Config=TRANSFER)
        return True

    def size(self, key: str) -> int | None:
        """Return the object's size in bytes, None if there is no object."""
        stat = self.stat(key)
        return stat.bytes if stat else None

    def stat(self, key: str) -> Stat | None:
        """Return the object's size and age, None if there is no object."""
        try:
            with self._explained(key):
                head = self._client.head_object(**self._at(key))
        except KeyNotFound:
            return None
        return Stat(int(head["ContentLength"]), head["LastModified"].timestamp())

    def touch(self, key: str) -> bool:
        """Make the object as young as if it had just been written; return False if there is no object."""
        # A copy onto itself, which the store does alone; it is refused unless something is replaced.
        replaced = {"MetadataDirective": "REPLACE"}
        source = self._at(key)
        try:
            with self._explained(key):
                self._client.copy(source, **source, ExtraArgs=replaced, Config=TRANSFER)
        except KeyNotFound:
            return False
        return True

    def list(self, prefix: str) -> Iterator[str]:
        """Yield the keys that start with the prefix, in sorted order."""
        return (key for key, _ in self.stats(prefix))

    def stats(self, prefix: str) -> Iterator[tuple[str, Stat]]:
        """Yield the keys that start with the prefix, each with its object's size and age."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix + prefix
        )
        with self._explained(prefix):
            objects = [
                (item["Key"][len(self._prefix) :], Stat(int(item["Size"]), item["LastModified"].timestamp()))
                for page in pages
                for item in page.get("Contents", [])
            ]
        # Sorted here because not every store does: SeaweedFS lists `a/1` before `a-1`, folder by folder.
        yield from sorted(objects)

    def delete(self, key: str) -> None:
        """Remove the object; a missing key is no error."""
        with self._explained(key), contextlib.suppress(KeyNotFound):
            self._client.delete_object(**self._at(key))

    def local_path(self, key: str) -> Path | None:
        """Return None: objects are not files here."""
        return None

    def check(self) -> None:
        """Check that the bucket answers and that conditional writes hold.

        Raises:
            StoreError: The store does not answer or refuses, or as `check_conditional_writes`.
        """
        # First: a HEAD does not tell a missing bucket from a missing key, and SeaweedFS makes the bucket of a PUT.
        with self._explained(""):
            self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)
        check_conditional_writes(self)

    def _body(self, key: str) -> Body:
        return Body(partial(self._client.get_object, **self._at(key)), partial(self._explained, key))

    def _put_on_condition(self, key: str, data: bytes, **condition: str) -> bool:
        writer = uuid.uuid4().hex
        with self._explained(key):
            try:
                mark = {"writer": writer}
                _try_again(self._client.put_object, **self._at(key), Body=data, Metadata=mark, **condition)
            except ClientError as error:
                if code_of(error) in {"PreconditionFailed", "412"}:
                    return self._written_by(key, writer)
                if is_missing(error) and "IfMatch" in condition:
                    return False
                raise
        return True

    def _written_by(self, key: str, writer: str) -> bool:
        """Return whether this writer wrote the object that is there.

        A conditional write whose answer was lost is sent again by botocore or a proxy, and then refused because of
        itself: its writer has won. The mark tells that writer from another that wrote the same bytes. If the object was
        replaced in between, the answer is False, as if the write had come too late.
        """
        try:
            return bool(self._client.head_object(**self._at(key))["Metadata"].get("writer") == writer)
        except ClientError as error:
            if is_missing(error):
                return False
            raise

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._name(key)}

    def _name(self, key: str) -> str:
        """Return the key below the prefix.

        Raises:
            ValueError: The key is no relative POSIX path; keys are ours, so this is a bug and not a user's mistake.
        """
        if any(part in {"", ".", ".."} for part in key.split("/")) or "\\" in key or "\0" in key:
            raise ValueError(f"not an object key: {key!r}")
        return self._prefix + key

    def _endpoint(self) -> str:
        return str(self._client.meta.endpoint_url) if self._client else "(not set)"

    @contextlib.contextmanager
    def _explained(self, key: str, *also: type[Exception]) -> Iterator[None]:
        """Turn what boto3 raises into `KeyNotFound` or a `StoreError` that says what to set."""
        try:
            yield
        except (*ERRORS, *also) as error:
            if is_missing(error):
                raise KeyNotFound(f"{self.uri}: no object {key}") from error
            kind = StoreAway if is_passing(error) else StoreError
            raise kind(f"--store {self.uri}: {reason_of(error, self._bucket, self._endpoint())}") from error


def _parse(uri: str) -> tuple[str, str]:
    """Return the bucket and the key prefix, which is empty or ends with a slash."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    prefix = prefix.strip("/")
    if "@" in bucket or ":" in bucket:
        # The URI is not repeated: it may hold a secret.
        raise UserError(
            "--store: an s3:// URI is s3://BUCKET/PREFIX and holds no credentials or host; set AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL"
        )
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{2,62}", bucket):
        raise UserError(f"--store {uri}: names no bucket; write s3://BUCKET/PREFIX")
    if re.search(r"[\s?#\\\0]", prefix) or any(part in {"", ".", ".."} for part in prefix.split("/") if prefix):
        raise UserError(f"--store {uri}: the prefix {prefix!r} is not a plain path such as team/modelmill")
    return bucket, f"{prefix}/" if prefix else ""
