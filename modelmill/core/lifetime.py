"""Processes that end with their parent, however that ends: a step must not train beside the run that replaces it."""

import contextlib
import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator

# How long a process may take to save after it is asked to end.
SAVING_SECONDS = 600


def exit_with_stdin() -> None:
    """End this process at once when its standard input closes.

    The standard input of the local runner's children is a pipe that closes when the runner dies, by whatever signal.
    """

    def wait() -> None:
        while os.read(0, 1024):
            pass

    _exit_after(wait)


def exit_with_parent() -> None:
    """End this process, a worker of `multiprocessing`, at once when its parent dies."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "not a worker of multiprocessing"
    _exit_after(parent.join)


@contextlib.contextmanager
def termination() -> Iterator[threading.Event]:
    """Give an event that SIGTERM sets instead of ending the process, so that a node that is taken away can save.

    Outside the main thread no signal can be caught, and the event is never set.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)


class Terminated(BaseException):
    """SIGTERM came where nothing waits for it; no `except Exception` on the way may keep it."""


@contextlib.contextmanager
def interruption() -> Iterator[Callable[[], None]]:
    """Have SIGTERM raise `Terminated` in the block, where no `termination` takes it, and give what sends it.

    What is given asks this process to end from any thread, as SIGTERM from outside does. Outside the main thread, where
    no signal can be caught, it does nothing.

    Raises:
        Terminated: Once; a further SIGTERM must not interrupt what is done about the first.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    mine, seen = os.getpid(), threading.Event()

    def interrupt(signal_number: int, frame: object) -> None:
        if os.getpid() != mine:
            # A worker that was forked in the block ends as if it had no handler.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
        elif not seen.is_set():
            seen.set()
            raise Terminated

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield functools.partial(os.kill, mine, signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def _exit_after(wait: Callable[[], None]) -> None:
    def watch() -> None:
        wait()
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="lifetime").start()
