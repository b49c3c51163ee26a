"""Data files in a folder or a bucket: finding them, and reading one of them."""

import contextlib
import fnmatch
import glob
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from modelmill.core.errors import UserError
from modelmill.data import digest_cache

# Objects up to this size are read at once, larger ones in ranges of at least that one; in bytes.
WHOLE, _RANGE = 64 << 20, 8 << 20
# The name of COCO annotations as some tools write them.
NOT_HIDDEN = "_annotations.coco.json"


class DataFile(NamedTuple):
    """A file or object that has not been read yet.

    Attributes:
        path: POSIX path relative to the data's root.
        uri: Absolute path of a file, or `s3://bucket/key`.
        bytes: Size; 0 until it is known.
        tag: Text that changes with the content; empty until it is known.
    """

    path: str
    uri: str
    bytes: int = 0
    tag: str = ""


def listed(path: str) -> list[DataFile]:
    """Return the files or objects at a place, unsorted.

    Args:
        path: A folder, which is searched in depth, a file, a glob pattern, or one of these below `s3://`.

    Raises:
        UserError: There is nothing of that name, it cannot be read, or a link leads out of the folder.
    """
    if path.startswith("s3://"):
        return _in_s3(path)
    if "://" in path and not path.startswith("file://"):
        raise UserError(f"data.path: {path}: data is a folder, a file, a glob pattern or s3://BUCKET/PREFIX")
    try:
        return _on_disk(path.removeprefix("file://"))
    except (OSError, ValueError) as error:  # a name that no file can have
        raise UserError(f"data.path: {path:.200}: cannot be read ({error})") from None


def with_size(file: DataFile) -> DataFile:
    """Return the file with its size; an S3 object has it, and its content tag, from its listing.

    Raises:
        UserError: It is no regular file, or cannot be read.
    """
    if file.tag:
        return file
    path = Path(file.uri)
    if not path.is_file():
        why = "a link to nothing" if path.is_symlink() else "not a regular file"
        raise UserError(f"data.path: {path}: {why}")
    return file._replace(bytes=path.stat().st_size)


def with_tag(file: DataFile) -> DataFile:
    """Return the file with its size and content tag, which of a file on disk is its sha256.

    Raises:
        UserError: It is no regular file, or cannot be read.
    """
    file = with_size(file)
    try:
        return file if file.tag else file._replace(tag=digest_cache.of_file(Path(file.uri)))
    except OSError as error:
        raise UserError(f"data.path: {file.uri}: cannot be read ({error.strerror})") from error


def open_file(uri: str, tag: str, size: int) -> BinaryIO:
    """Open a file or an S3 object, to be read from the start or anywhere.

    A small object comes with one request, a larger one in ranges. A range is asked for again where the connection
    breaks.

    Args:
        uri: Path of the file, or `s3://bucket/key`.
        tag: Tag that the S3 object must have.
        size: Bytes of the S3 object.

    Raises:
        UserError: It is gone or changed, or cannot be read. Reading raises the same.
    """
    if not uri.startswith("s3://"):
        try:
            return Path(uri).open("rb")
        except OSError as error:
            raise UserError(f"{uri}: cannot be read ({error.strerror})") from error
    remote = _Object(uri, tag, size)
    return io.BytesIO(remote.readall()) if size <= WHOLE else io.BufferedReader(remote, _RANGE)


def read_range(uri: str, tag: str, start: int, count: int) -> bytes:
    """Return some bytes of an S3 object with one request.

    Args:
        uri: The object, as `s3://bucket/key`.
        tag: Tag that it must have.
        start: Where they begin.
        count: How many they are.

    Raises:
        UserError: See `open_file`.
    """
    remote = _Object(uri, tag, start + count)
    remote.seek(start)
    return remote.readall()


class _Object(io.RawIOBase):
    """An S3 object of one version, read by ranges."""

    def __init__(self, uri: str, tag: str, size: int) -> None:
        self._uri, self._tag, self._size, self._position = uri, tag, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(start + offset, 0)
        return self._position

    def readinto(self, buffer: Any) -> int:
        data = self._fetch(min(len(buffer), self._size - self._position))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return self._fetch(self._size - self._position)

    def _fetch(self, count: int) -> bytes:
        from modelmill.store.s3_client import read_again

        if count <= 0:
            return b""
        bucket, _, key = self._uri.removeprefix("s3://").partition("/")
        wanted = f"bytes={self._position}-{self._position + count - 1}"
        with _explained(self._uri, bucket) as client:

            def read() -> bytes:
                answer = client.get_object(Bucket=bucket, Key=key, IfMatch=self._tag, Range=wanted)
                return bytes(answer["Body"].read())

            data = read_again(read)
        self._position += len(data)
        return data


def _is_hidden(path: str) -> bool:
    return any(part.startswith((".", "_")) and part != NOT_HIDDEN for part in path.split("/"))


def _fixed_part(path: str) -> str:
    """Return the folder that a glob pattern starts from: everything before its first part with a wildcard."""
    parts = path.split("/")
    first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return "/".join(parts[:first])


def _on_disk(path: str) -> list[DataFile]:
    start = Path(path).absolute()
    if start.is_file():
        return [DataFile(start.name, str(start))]
    if start.is_dir():
        root, files = start, _walk(start)
    elif glob.has_magic(path):
        root = Path(_fixed_part(start.as_posix()) or "/")
        files = [f for f in map(Path, glob.glob(str(start), recursive=True)) if not f.is_dir()]  # noqa: PTH207
        for folder in {parent for f in files for parent in f.parents if parent.is_relative_to(root) and parent != root}:
            _inside(root, folder)
    else:
        raise UserError(
            f"data.path: {path}: no such file or folder (a demo's data: modelmill demo-data NAME, or demo-model NAME)"
        )
    named = [(f.relative_to(root).as_posix(), f) for f in files]
    return [DataFile(name, str(_inside(root, f))) for name, f in named if not _is_hidden(name)]


def _walk(root: Path) -> list[Path]:
    """Return every file below a folder; a linked folder inside it counts at its own place, one outside is refused."""

    def refuse(error: OSError) -> None:
        raise UserError(f"data.path: {error.filename}: cannot be read ({error.strerror})") from error

    files: list[Path] = []
    for folder, subfolders, names in os.walk(root, onerror=refuse):
        subfolders[:] = [n for n in subfolders if not _is_hidden(n)]
        for name in subfolders:
            _inside(root, Path(folder, name))
        files += [Path(folder, name) for name in names]
    return files


def _inside(root: Path, file: Path) -> Path:
    """Return the file, unless it is a link that leads out of the data's root or its name is not UTF-8."""
    if file.is_symlink() and not file.resolve().is_relative_to(root.resolve()):
        raise UserError(f"data.path: {file}: a link that leads out of {root}; copy the file or point data.path at it")
    try:
        str(file).encode()
    except UnicodeEncodeError:
        raise UserError(f"data.path: {os.fsencode(file)!r}: the name is not UTF-8; rename it") from None
    return file


def _in_s3(uri: str) -> list[DataFile]:
    bucket, _, rest = uri.removeprefix("s3://").partition("/")
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]+", bucket):
        raise UserError(f"data.path: {uri}: write s3://BUCKET/PREFIX")
    rest = rest.strip("/")
    if literal := _below(bucket, rest):  # as on disk, a name is one before it is a pattern
        return literal
    if glob.has_magic(rest):
        root = _fixed_part(rest)
        below = _objects(bucket, root, f"{root}/" if root else "")
        pattern = rest.removeprefix(root).strip("/").split("/")
        return [o for o in below if _matches(o.path.split("/"), pattern) and not _is_hidden(o.path)]
    return []


def _below(bucket: str, rest: str) -> list[DataFile]:
    """Return the objects below a folder of this name, or the object of this name."""
    folder = _objects(bucket, rest, f"{rest}/" if rest else "")
    if folder:
        return [o for o in folder if not _is_hidden(o.path)]
    parent, _, name = rest.rpartition("/")
    return [o for o in _objects(bucket, parent, rest) if o.path == name]


def _objects(bucket: str, root: str, prefix: str) -> list[DataFile]:
    """Return the objects whose key begins with `prefix`, named relative to the folder `root`."""
    with _explained(f"data.path: s3://{bucket}/{prefix}", bucket) as client:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        items = [item for page in pages for item in page.get("Contents", []) if not item["Key"].endswith("/")]
    start = f"{root}/" if root else ""
    return [
        DataFile(item["Key"].removeprefix(start), f"s3://{bucket}/{item['Key']}", item["Size"], item["ETag"].strip('"'))
        for item in items
    ]


def _matches(parts: list[str], pattern: list[str]) -> bool:
    """Return whether a path matches a glob pattern, both split at `/`; `**` stands for any number of folders."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[i:], pattern[1:]) for i in range(len(parts) + 1))
    return bool(parts) and fnmatch.fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


@contextlib.contextmanager
def _explained(where: str, bucket: str) -> Iterator[Any]:
    """Give the shared client; what it raises becomes a UserError that begins with `where`."""
    from modelmill.store import s3_client, s3_errors

    client = None
    try:
        client = s3_client.shared()
        yield client
    except (*s3_errors.ERRORS, ValueError) as error:
        known = {
            "NoSuchBucket": f"there is no bucket {bucket}",
            "NoSuchKey": "gone since it was listed; run again",
            "PreconditionFailed": "changed since it was validated; run again",
        }
        endpoint = client.meta.endpoint_url if client else "S3"
        why = known.get(s3_errors.code_of(error)) or s3_errors.reason_of(error, bucket, endpoint)
        raise UserError(f"{where}: {why}") from error
