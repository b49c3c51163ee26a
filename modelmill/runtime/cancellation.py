"""A run's cancellation: written into the store by whoever cancels it, read by its steps while they work."""

import contextlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator

from pydantic import BaseModel

from modelmill.core import lifetime
from modelmill.core.digest import canonical_json
from modelmill.core.errors import Cancelled, Preempted, one_line
from modelmill.store import KeyNotFound, Store

log = logging.getLogger("modelmill")
# How often a step looks: one small read.
CHECK_SECONDS = 5.0
# How long a reader that has ended is waited for; a store that does not answer must not keep the step.
_JOIN_SECONDS = 2.0


class Cancellation(BaseModel):
    """Who has cancelled a run, and when.

    Attributes:
        by: Who has cancelled it.
        at: When, in seconds since 1970.
    """

    by: str
    at: float

    def __str__(self) -> str:
        """Return the words that every reader of the run gets."""
        return f"cancelled by {self.by}, {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(self.at))} UTC"


def key(run_id: str) -> str:
    """Return the store key of a run's cancellation."""
    return f"runs/{run_id}/cancelled.json"


def write(store: Store, run_id: str, by: str) -> Cancellation:
    """Write that a run is cancelled, and return what stands: the first who asked is named.

    Args:
        store: Store with the run's records.
        run_id: The run.
        by: Who cancels it.
    """
    asked = Cancellation(by=one_line(Exception(by)), at=time.time())
    if store.put_if_absent(key(run_id), canonical_json(asked.model_dump())):
        return asked
    return read(store, run_id) or asked


def read(store: Store, run_id: str) -> Cancellation | None:
    """Return a run's cancellation, None if nobody has cancelled it."""
    try:
        return Cancellation.model_validate(json.loads(store.get(key(run_id))))
    except KeyNotFound:
        return None


def seen(store: Store, run_id: str) -> Cancellation | None:
    """Return a run's cancellation; None, too, where the store does not answer: work goes on without it."""
    try:
        return read(store, run_id)
    except Exception as error:
        log.debug("whether %s is cancelled is not known: %s", run_id, one_line(error))
        return None


def require_none(store: Store, run_id: str) -> None:
    """Refuse to begin work for a run that is cancelled.

    Raises:
        Cancelled: It is.
    """
    if cancelled := seen(store, run_id):
        raise Cancelled(str(cancelled))


@contextlib.contextmanager
def heeded(store: Store, run_id: str, is_over: Callable[[], bool] | None = None) -> Iterator[None]:
    """Enter a block that ends early on SIGTERM, and when the run is cancelled; training saves first, in both cases.

    Args:
        store: Store with the run's records.
        run_id: The run.
        is_over: Returns whether the work is no longer wanted; by default, whether the run is cancelled.

    Raises:
        Cancelled: The run is cancelled, whatever signal came with it.
        Preempted: SIGTERM came.
    """
    require_none(store, run_id)
    try:
        with lifetime.interruption() as ask, _watched(is_over or (lambda: seen(store, run_id) is not None), ask):
            yield
    except (lifetime.Terminated, Preempted) as ended:
        done = ended.done if isinstance(ended, Preempted) else ""
        if cancelled := seen(store, run_id):
            raise Cancelled(f"{cancelled}; {done}" if done else str(cancelled)) from None
        raise Preempted(done or "stopped by SIGTERM") from None


@contextlib.contextmanager
def _watched(is_over: Callable[[], bool], ask: Callable[[], None]) -> Iterator[None]:
    """Ask this process to end as soon as its work is no longer wanted, while the block runs.

    Args:
        is_over: Returns whether the work is no longer wanted; called every CHECK_SECONDS, in a thread of its own.
        ask: Asks this process to end (see `lifetime.interruption`).
    """
    ended, once = threading.Event(), threading.Lock()

    def look() -> None:
        while not ended.wait(CHECK_SECONDS):
            if is_over():
                with once:
                    if not ended.is_set():
                        ask()
                return

    reader = threading.Thread(target=look, daemon=True, name="cancellation")
    reader.start()
    try:
        yield
    finally:
        with once:
            ended.set()
        reader.join(_JOIN_SECONDS)
