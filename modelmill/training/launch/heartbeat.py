"""Signs of life between a step that waits for a TrainJob and the nodes that train for it.

The step writes a heartbeat beside the job. Nodes whose step is gone for good, or whose run is cancelled, save and end
by themselves: they must not train on for days for nobody. They end with 0, since nodes that fail are started again.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator

from modelmill.core.errors import ModelmillError, Preempted
from modelmill.runtime import cancellation
from modelmill.runtime.step_runtime import Step
from modelmill.store import KeyNotFound, Store

log = logging.getLogger("modelmill")
KEY, STOPPED = "heartbeat", "stopped"
BEAT_SECONDS = 30.0
# A step whose pod was lost is started again, perhaps after a wait for a place on a full cluster, and joins its nodes.
STALE_SECONDS = 1800.0


@contextlib.contextmanager
def kept(folder: Store) -> Iterator[None]:
    """Write the step's heartbeat while the block runs; a store that does not answer is tried again at the next beat.

    Args:
        folder: The folder with the job.
    """
    ended = threading.Event()

    def beat() -> None:
        while True:
            with contextlib.suppress(ModelmillError):
                folder.put(KEY, str(time.time()).encode())
            if ended.wait(BEAT_SECONDS):
                return

    writer = threading.Thread(target=beat, daemon=True, name="heartbeat")
    writer.start()
    try:
        yield
    finally:
        ended.set()


@contextlib.contextmanager
def heeded(step: Step, folder: Store, rank: int) -> Iterator[None]:
    """Enter a block that ends early when nobody waits for this node's work any more; training saves first.

    Args:
        step: The step that the node works for.
        folder: The folder with the job.
        rank: This process's rank; the first one listens, and the others end with it.

    Raises:
        Cancelled: The run is cancelled.
        Preempted: The step gives no sign of life, or SIGTERM came.
    """
    if reason := stopped(folder):
        raise Preempted(f"not begun: {reason}")
    listener = _Listener(step, folder)
    with cancellation.heeded(step.store, step.run_id, listener.is_over if rank == 0 else lambda: False):
        yield


def stopped(folder: Store) -> str:
    """Return why the nodes have stopped by themselves; empty if they have not.

    Args:
        folder: The folder with the job.
    """
    try:
        return folder.get(STOPPED).decode()
    except ModelmillError:
        return ""


class _Listener:
    """The first process of the nodes, listening to the step; clocks of two machines are never compared."""

    def __init__(self, step: Step, folder: Store) -> None:
        self._step, self._folder = step, folder
        self._last, self._since = b"", time.monotonic()

    def is_over(self) -> bool:
        """Return whether nobody waits for the work, and leave the reason for the other processes."""
        if cancelled := cancellation.seen(self._step.store, self._step.run_id):
            reason = str(cancelled)
        elif self._is_stale():
            reason = f"its step has given no sign of life for {STALE_SECONDS / 60:.0f} minutes"
        else:
            return False
        log.warning("%s: saving and ending: %s", self._step.name, reason)
        with contextlib.suppress(ModelmillError):
            self._folder.put(STOPPED, reason.encode())
        return True

    def _is_stale(self) -> bool:
        try:
            last = self._folder.get(KEY)
        except KeyNotFound:
            last = b""
        except ModelmillError:
            # Where this node cannot read, the step could not write: its time begins anew.
            last, self._last = b"unknown", b""
        if last != self._last:
            self._last, self._since = last, time.monotonic()
        return time.monotonic() - self._since > STALE_SECONDS
