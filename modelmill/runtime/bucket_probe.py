"""A write to a bucket and its removal, to learn whether it takes any."""

import uuid

from modelmill.store.s3 import S3Store

# Too much to be kept beside its name, as some stores do with what is small.
_BYTES = 1 << 16


def require_writable(bucket: str, endpoint: str | None = None) -> None:
    """Write an object to a bucket, and delete it.

    Args:
        bucket: Name of the bucket.
        endpoint: URL of the store; None takes the one that boto3 finds.

    Raises:
        StoreError: The bucket is not there, or does not take the object.
    """
    store = S3Store(f"s3://{bucket}/modelmill-doctor", endpoint)
    # First, because SeaweedFS makes the bucket of a write.
    next(iter(store.list("")), None)
    key = f"probe-{uuid.uuid4().hex}"
    store.put(key, bytes(_BYTES))
    store.delete(key)
