"""The protocol that keeps writers and `modelmill gc` out of each other's way.

gc deletes nothing younger than GRACE_SECONDS, so a new object is safe. The danger is an old object that nothing names
and that a writer relies on at the moment gc deletes it. Therefore gc announces each batch in `gc.json` before its last
look at what is in use and how old each object is:

- A writer that relies on an old blob touches it, then reads `gc.json`. Either gc saw the touch, or the writer sees the
  blob in the batch, waits until the batch is over, and writes the blob again if it is gone.
- A step records that it has begun, then reads `gc.json` and waits for the batch that may not know of it. The next batch
  does, and keeps everything that the step could reuse.

Nobody compares clocks: gc ends a batch BATCH_SECONDS after announcing it, and a writer waits for a batch at most
LEASE_SECONDS by its own clock, so a gc that was killed stops nobody for long.
"""

import contextlib
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from typing import Any

from modelmill.core import digest
from modelmill.core.errors import ModelmillError
from modelmill.store.base import KeyNotFound, Store

KEY = "gc.json"
GRACE_SECONDS = 24 * 3600
BATCH_SECONDS = 30
LEASE_SECONDS = 2 * BATCH_SECONDS
_POLL_SECONDS = 0.1


def is_kept(store: Store, key: str, size: int) -> bool:
    """Return whether an object of this size is in the store and safe from gc for at least half the grace period.

    Args:
        store: The store.
        key: The object's key.
        size: Bytes that the object must have.
    """
    stat = store.stat(key)
    if stat is None or stat.bytes != size:
        return False
    if time.time() - stat.modified < GRACE_SECONDS / 2:
        return True
    store.touch(key)
    wait(store, key)
    return store.size(key) == size


def wait(store: Store, key: str | None = None) -> None:
    """Wait until the batch that gc is deleting is over.

    Args:
        store: The store.
        key: Wait only for a batch that holds this key; without it, for any batch.
    """
    seen, since = None, 0.0
    while (batch := _read(store)) is not None:
        if key is not None and key not in batch["keys"]:
            return
        if batch["id"] != seen:
            if seen is not None and key is None:
                return  # it was announced after the caller had said that it is there
            seen, since = batch["id"], time.monotonic()
        if time.monotonic() - since > LEASE_SECONDS:
            return
        time.sleep(_POLL_SECONDS)


class Announcer:
    """gc's side of the protocol.

    Attributes:
        is_lost: Whether another gc has taken over.
    """

    def __init__(self, store: Store, tag: str) -> None:
        """Go on from the announcement that is there.

        Args:
            store: The store.
            tag: Tag of this gc's `gc.json`.
        """
        self._store, self._tag = store, tag
        self.is_lost = False

    def announce(self, keys: list[str]) -> float:
        """Announce the keys that are deleted next; return the time, by `time.monotonic`, at which that must end.

        Raises:
            ModelmillError: Another gc took this one for dead and has gone on.
        """
        now = time.monotonic()
        if not self._store.compare_and_swap(KEY, _document(keys), self._tag):
            self.is_lost = True
            raise ModelmillError("another modelmill gc has taken over; what it does not delete the next one will")
        self._tag = self._store.read(KEY).tag
        return now + BATCH_SECONDS


@contextlib.contextmanager
def announcing(store: Store) -> Iterator[Announcer]:
    """Be the only gc in the store until the block ends.

    Raises:
        ModelmillError: Another gc is at work.
    """
    data = _document([])
    while not store.put_if_absent(KEY, data):
        tag = _tag_of_dead(store)
        if tag is not None and store.compare_and_swap(KEY, data, tag):
            break
    announcer = Announcer(store, store.read(KEY).tag)
    try:
        yield announcer
    finally:
        if not announcer.is_lost:
            store.delete(KEY)


def _tag_of_dead(store: Store) -> str | None:
    """Return the tag of the `gc.json` that a killed gc has left, None if it is gone.

    A gc of this machine is dead if its process is; one of another machine, if it announces nothing for LEASE_SECONDS.

    Raises:
        ModelmillError: It lives.
    """
    first, since = None, time.monotonic()
    while True:
        try:
            announced = store.read(KEY)
        except KeyNotFound:
            return None
        batch = _parse(announced.data)
        is_here = batch is not None and batch["host"] == socket.gethostname()
        if batch is None or (is_here and not _is_alive(batch["pid"])):
            return announced.tag
        if is_here or first not in (None, announced.tag):
            where = f"process {batch['pid']} on {batch['host']}"
            raise ModelmillError(f"{store.uri}: another modelmill gc is at work ({where}); wait until it has ended")
        if time.monotonic() - since > LEASE_SECONDS:
            return announced.tag
        first = announced.tag
        time.sleep(_POLL_SECONDS)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _document(keys: list[str]) -> bytes:
    return digest.canonical_json(
        {"id": uuid.uuid4().hex, "host": socket.gethostname(), "pid": os.getpid(), "keys": keys}
    )


def _read(store: Store) -> dict[str, Any] | None:
    try:
        return _parse(store.get(KEY))
    except KeyNotFound:
        return None


def _parse(data: bytes) -> dict[str, Any] | None:
    try:
        batch = json.loads(data)
    except ValueError:
        return None
    return batch if isinstance(batch, dict) and {"id", "host", "pid", "keys"} <= batch.keys() else None
