"""The check that a store's conditional writes hold: every decision that is made once rests on them."""

import uuid

from modelmill.store.base import Store, StoreError


def check_conditional_writes(store: Store) -> None:
    """Try both conditional writes on a probe object, which is removed again.

    Raises:
        StoreError: The store does not answer, loses what was written, or takes a write whose condition does not hold,
            so that two could hold one lock and a promotion could be lost.
    """
    probe = f"probe/{uuid.uuid4().hex}"
    if not store.put_if_absent(probe, b"probe") or store.get(probe) != b"probe":
        raise StoreError(f"--store {store.uri}: does not give back what was written")
    try:
        tag = store.read(probe).tag
        twice = store.put_if_absent(probe, b"other")
        swapped = store.compare_and_swap(probe, b"swapped", tag)
        stale = store.compare_and_swap(probe, b"stale", tag)
    finally:
        store.delete(probe)
    if twice or stale or not swapped:
        raise StoreError(
            f"--store {store.uri}: the store ignores conditional writes (If-None-Match, If-Match), so runs could "
            "overwrite each other; use one that honours them, such as AWS S3, SeaweedFS or a folder"
        )
