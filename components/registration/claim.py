"""The claim of one worker at a time on a registration: a lease in the store, renewed while its holder lives."""

import logging
import os
import random
import threading
import time
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from modelmill.champion import champion_state
from modelmill.core import digest
from modelmill.core.errors import ModelmillError
from modelmill.store import KeyNotFound, Store, StoreError, Versioned

log = logging.getLogger("modelmill")

# How long a claim outlives a killed holder, and how many times in that period a living holder renews it.
SECONDS = 15.0
RENEWALS = 5
_POLL_SECONDS = 0.2
T = TypeVar("T")


class Lost(ModelmillError):
    """An error: the holder has not renewed its claim in time, and another worker has taken over."""


class Lease(BaseModel):
    """The content of a claim's object.

    Attributes:
        holder: Who holds it.
        expires: When it ends, in seconds since 1970.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    holder: str
    expires: float


def exclusively(store: Store, key: str, work: Callable[["Claim"], T], waiting: Callable[[str], None]) -> T:
    """Do the work while no other worker does the work of this key; it may begin again.

    Args:
        store: The store of the claims.
        key: The identity of the work.
        work: The work, given the claim.
        waiting: Called with the holder of the claim while this worker waits.
    """
    while True:
        try:
            with Claim(store, key, waiting) as claim:
                return work(claim)
        except Lost:
            log.warning("another worker has taken over, because this one stood still; waiting for it")


class Claim:
    """A claim, held from `with` to the end of its block, or until `SECONDS` after its process was killed.

    A lease is over when its time has passed by this machine's clock, or when its holder has not renewed it for that
    long while this worker watched, because clocks may differ. Work under a claim must tolerate a holder that stood
    still and wakes up too late; `check` makes that unlikely, but no lease can exclude it.

    Attributes:
        key: The identity of the work.
    """

    def __init__(self, store: Store, key: str, waiting: Callable[[str], None]) -> None:
        """Prepare a claim.

        Args:
            store: The store of the claims.
            key: The identity of the work.
            waiting: Called with the holder of the claim while this worker waits.
        """
        self.key = key
        self._store, self._waiting = store, waiting
        self._object = f"registry/claims/{key}.json"
        self._holder = f"{champion_state.who()} {os.getpid()} {uuid.uuid4().hex[:8]}"
        self._renewed, self._ended = time.monotonic(), threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True, name="claim")

    def __enter__(self) -> "Claim":
        """Take the claim, waiting until it is free."""
        self._take()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the claim back."""
        self._ended.set()
        self._thread.join()
        try:
            self._swap(0.0)
        except StoreError as problem:  # then it ends by itself
            log.warning("the claim is not given back: %s", problem)

    def check(self) -> None:
        """Check that the claim is still this worker's.

        Raises:
            Lost: It may be another's by now.
        """
        if time.monotonic() - self._renewed > SECONDS:
            raise Lost("this worker stood still, and another may register in its place")

    def _take(self) -> None:
        seen, since = "", time.monotonic()
        while True:
            before = time.monotonic()
            if self._store.put_if_absent(self._object, self._lease(time.time() + SECONDS)):
                break
            try:
                current = self._store.read(self._object)
            except KeyNotFound:
                continue
            if current.tag != seen:
                seen, since = current.tag, time.monotonic()
            holder, is_over = _holder(current)
            is_over = is_over or time.monotonic() - since > SECONDS
            if is_over and self._store.compare_and_swap(self._object, self._lease(time.time() + SECONDS), current.tag):
                break
            if not is_over:
                self._waiting(holder)
                time.sleep(_POLL_SECONDS * random.uniform(0.5, 1.5))
        self._renewed = before

    def _renew(self) -> None:
        while not self._ended.wait(SECONDS / RENEWALS):
            before = time.monotonic()
            try:
                if not self._swap(time.time() + SECONDS):
                    self._renewed = float("-inf")
                    return
            except StoreError as problem:
                log.warning("the claim is not renewed: %s", problem)
                continue
            self._renewed = before

    def _swap(self, expires: float) -> bool:
        """Write the lease anew, if it is still this worker's."""
        try:
            current = self._store.read(self._object)
        except KeyNotFound:
            return False
        return _holder(current)[0] == self._holder and self._store.compare_and_swap(
            self._object, self._lease(expires), current.tag
        )

    def _lease(self, expires: float) -> bytes:
        return digest.canonical_json(Lease(holder=self._holder, expires=expires).model_dump())


def _holder(stored: Versioned) -> tuple[str, bool]:
    """Return the holder of the claim and whether its time has passed; a claim that cannot be read is nobody's."""
    try:
        lease = Lease.model_validate_json(stored.data)
    except ValidationError:
        return "", True
    return lease.holder, lease.expires <= time.time()
