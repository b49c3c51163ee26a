"""The object store: S3-compatible (`s3://bucket/prefix`) or a folder (`file://path`)."""

from modelmill.core.errors import UserError
from modelmill.store.base import KeyNotFound, Stat, Store, StoreAway, StoreError, Versioned
from modelmill.store.conditional import check_conditional_writes

__all__ = [
    "KeyNotFound",
    "Stat",
    "Store",
    "StoreAway",
    "StoreError",
    "Versioned",
    "check_conditional_writes",
    "open_store",
]


def open_store(uri: str) -> Store:
    """Open the store at a URI; only `s3://` imports boto3.

    Args:
        uri: `s3://BUCKET/PREFIX` or `file://FOLDER`.

    Raises:
        UserError: The scheme is neither `file` nor `s3`, or no bucket is named.
    """
    if uri.startswith("s3://"):
        from modelmill.store.s3 import S3Store

        return S3Store(uri)
    if uri.startswith("file://"):
        from modelmill.store.folder import FolderStore

        return FolderStore(uri)
    raise UserError(f"--store {uri}: a store is file://FOLDER or s3://BUCKET/PREFIX")
