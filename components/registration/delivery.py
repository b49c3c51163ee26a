"""The transfer of a model's files to MLflow's storage, and how they are read back.

Where that is a bucket of the store's own server, the server copies them: no byte passes through this process, and the
step needs no disk for them. Elsewhere they go through MLflow's client.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import mlflow
from mlflow.utils.file_utils import get_local_path_or_none

from modelmill.core import digest
from modelmill.store import KeyNotFound, Store, StoreError, blobs, manifest
from modelmill.store.manifest import Entry

# Settings of MLflow's own client for buckets, which a plain client ignores.
_OWN_WAYS = (
    "MLFLOW_S3_UPLOAD_EXTRA_ARGS",
    "MLFLOW_S3_EXPECTED_BUCKET_OWNER",
    "MLFLOW_S3_IGNORE_TLS",
    "MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE",
    "MLFLOW_EXPERIMENTAL_S3_SIGNATURE_VERSION",
)
_AT_ONCE = 4


def send(client: Any, store: Store, logged: Any, package: Path, entries: list[Entry]) -> None:
    """Give MLflow a package, and the entries' files below its folder `artifacts`.

    Args:
        client: MLflow's client.
        store: The store with the entries.
        logged: MLflow's logged model that they belong to.
        package: The package's folder.
        entries: The model's files.

    Raises:
        CorruptError: An entry's bytes are not in the store.
    """
    if not _copy(store, logged.artifact_location, entries):
        manifest.place(store, entries, package / "artifacts")
    client.log_model_artifacts(logged.model_id, str(package))


def digests(uri: str, location: str, names: list[str], scratch: Path) -> dict[str, str | None]:
    """Return the sha256 of files as MLflow has them, None for one that is missing.

    Args:
        uri: URI of the version.
        location: URI of its artifacts.
        names: Names of the files.
        scratch: A folder for downloads.
    """
    if bucket := _bucket(location):
        with contextlib.suppress(StoreError):  # MLflow's client may have access where we have none
            return _read(names, bucket.open)
    folder = get_local_path_or_none(location)
    if folder is None:
        folder = mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=tempfile.mkdtemp(dir=scratch))
    return _read(names, lambda name: open(Path(folder) / name, "rb"))


def _read(names: list[str], opened: Callable[[str], BinaryIO]) -> dict[str, str | None]:
    def one(name: str) -> str | None:
        try:
            with opened(name) as stream:
                return digest.of_stream(stream)
        except (KeyNotFound, FileNotFoundError):
            return None

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(names, pool.map(one, names), strict=True))


def _copy(store: Store, location: str, entries: list[Entry]) -> bool:
    """Copy the entries within the store's server, and tell whether that was possible."""
    bucket = _bucket(location)
    if bucket is None or not store.uri.startswith("s3://"):
        return False

    def one(entry: Entry) -> bool:
        return bool(bucket.copy(f"artifacts/{entry.path}", store, blobs.key_of(entry.sha256)))

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            return all(pool.map(one, entries))
        except (KeyNotFound, StoreError):  # sending them will say why
            return False


def _bucket(location: str) -> Any:
    """Return the location as a store, where it is a bucket that is reached as the store's is, else None."""
    if not location.startswith("s3://") or any(os.environ.get(name) for name in _OWN_WAYS):
        return None
    from modelmill.store.s3 import S3Store

    return S3Store(location, os.environ.get("MLFLOW_S3_ENDPOINT_URL"))
