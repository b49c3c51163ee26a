"""How writers and `modelmill gc` keep out of each other's way.

gc deletes nothing younger than GRACE_SECONDS, so what a writer has just written is safe. What is left is an old object
that nothing names and that somebody finds there in the very moment in which it is deleted. Therefore gc announces each
batch in `gc.json` before it looks, for the last time, at what is in use and how old each object is:

- A writer that finds a blob there and old touches it, then reads `gc.json`. Either gc saw the touch, or the writer sees
  the blob in the batch, waits until the batch is over, and writes the blob if it is gone.
- A step says that it has begun, then reads `gc.json`, and waits for the batch that may not know of it. The next one
  does, and keeps all that the step could find.

Neither compares clocks: gc is done with a batch BATCH_SECONDS after it was announced, and who waits gives an
announcement LEASE_SECONDS by its own clock from when it saw it, so that a gc that was killed stops nobody for long.
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
    """Whether the object is there with this size, and gc will let it be for half the grace period or more."""
    found = store.stat(key)
    if found is None or found.bytes != size:
        return False
    if time.time() - found.modified < GRACE_SECONDS / 2:
        return True
    store.touch(key)
    wait(store, key)
    return store.size(key) == size


def wait(store: Store, key: str | None = None) -> None:
    """Until the batch that is being deleted is over, if it holds the key; without a key any batch is waited for."""
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
    """gc's side of it. `announce` says what is deleted next and returns when, by `time.monotonic`, that must end."""

    def __init__(self, store: Store, tag: str) -> None:
        self._store, self._tag = store, tag
        self.is_lost = False

    def announce(self, keys: list[str]) -> float:
        """
        Raises:
            ModelmillError: another gc took this one for dead and has gone on.
        """
        now = time.monotonic()
        if not self._store.compare_and_swap(KEY, _document(keys), self._tag):
            self.is_lost = True
            raise ModelmillError("another modelmill gc has taken over; what it does not delete the next one will")
        self._tag = self._store.read(KEY).tag
        return now + BATCH_SECONDS


@contextlib.contextmanager
def announcing(store: Store) -> Iterator[Announcer]:
    """The only gc in the store until the block ends.

    Raises:
        ModelmillError: another one is at work.
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
    """Which version of `gc.json` a gc that was killed has left, told by its process or, if that is of another machine,
    by its silence; None if there is none any more.

    Raises:
        ModelmillError: it lives.
    """
    first, since = None, time.monotonic()
    while True:
        try:
            found = store.read(KEY)
        except KeyNotFound:
            return None
        batch = _parse(found.data)
        is_here = batch is not None and batch["host"] == socket.gethostname()
        if batch is None or (is_here and not _is_alive(batch["pid"])):
            return found.tag
        if is_here or first not in (None, found.tag):
            where = f"process {batch['pid']} on {batch['host']}"
            raise ModelmillError(f"{store.uri}: another modelmill gc is at work ({where}); wait until it has ended")
        if time.monotonic() - since > LEASE_SECONDS:
            return found.tag
        first = found.tag
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
        found = json.loads(data)
    except ValueError:
        return None
    return found if isinstance(found, dict) and {"id", "host", "pid", "keys"} <= found.keys() else None
