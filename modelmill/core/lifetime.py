"""Processes that end with their parent, however that ends: a step must not train beside the run that replaces it."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator


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


def _exit_after(wait: Callable[[], None]) -> None:
    def watch() -> None:
        wait()
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="lifetime").start()
