"""Content-addressed bytes in a store: `blobs/<first two>/<sha256>`. Written once, never changed."""

from pathlib import Path

from modelmill.core import digest
from modelmill.core.errors import CorruptError
from modelmill.store import retention
from modelmill.store.base import KeyNotFound, Store


def key_of(sha256: str) -> str:
    """Return the store key of a blob."""
    return f"blobs/{sha256[:2]}/{sha256}"


def put_bytes(store: Store, data: bytes) -> str:
    """Store bytes and return their sha256."""
    sha256 = digest.of_bytes(data)
    if not retention.is_kept(store, key_of(sha256), len(data)):
        store.put(key_of(sha256), data)
    return sha256


def put_file(store: Store, path: Path, sha256: str | None = None) -> str:
    """Store a file and return its sha256; bytes that the store already holds are not sent again.

    Args:
        store: Store that gets the file.
        path: The file.
        sha256: Its digest, if it is known.
    """
    sha256 = sha256 or digest.of_file(path)
    if not retention.is_kept(store, key_of(sha256), path.stat().st_size):
        store.upload(key_of(sha256), path)
    return sha256


def get_bytes(store: Store, sha256: str) -> bytes:
    """Return a blob's bytes, checked.

    Raises:
        CorruptError: The blob is missing, or its bytes do not have the digest `sha256`.
    """
    try:
        data = store.get(key_of(sha256))
    except KeyNotFound as error:
        raise CorruptError(f"{store.uri}: blob {sha256} is missing") from error
    if digest.of_bytes(data) != sha256:
        raise CorruptError(f"{store.uri}: blob {sha256} does not have the bytes it is named after")
    return data


def get_file(store: Store, sha256: str, path: Path) -> Path:
    """Return a checked local file with the blob's bytes: the store's own file, or a copy.

    Args:
        store: Store that holds the blob.
        sha256: Digest of the blob.
        path: Place of the copy where the store's objects are not files; a copy that is there already is used.

    Raises:
        CorruptError: The blob is missing, or its bytes do not have the digest `sha256`.
    """
    key = key_of(sha256)
    local = store.local_path(key)
    if local is None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file() and digest.of_file(path) == sha256:
            return path
        try:
            store.download(key, path)
        except KeyNotFound as error:
            raise CorruptError(f"{store.uri}: blob {sha256} is missing") from error
        local = path
    elif not local.is_file():
        raise CorruptError(f"{store.uri}: blob {sha256} is missing")
    if digest.of_file(local) != sha256:
        raise CorruptError(f"{store.uri}: blob {sha256} does not have the bytes it is named after")
    return local
