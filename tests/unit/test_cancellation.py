"""A run's cancellation in the store, and what it does to work that goes on."""

import multiprocessing
import os
import signal
import threading
import time
from typing import Any

import pytest

from modelmill.core.errors import Cancelled, ModelmillError, Preempted
from modelmill.runtime import cancellation
from modelmill.store import Store, StoreError

RUN = "20260102-030405-abc"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancellation, "CHECK_SECONDS", 0.05)


def test_the_first_who_cancels_is_named(store: Store) -> None:
    assert cancellation.read(store, RUN) is None
    first = cancellation.write(store, RUN, "ann\nof the night shift")
    assert cancellation.write(store, RUN, "bob") == first
    assert cancellation.read(store, RUN) == first
    said = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(first.at))
    assert str(first) == f"cancelled by ann of the night shift, {said} UTC"


def stubborn() -> None:
    """Work that takes every error for one that passes."""
    while True:
        try:
            time.sleep(30)
        except Exception:
            continue


def test_work_ends_when_its_run_is_cancelled(store: Store) -> None:
    threading.Timer(0.3, lambda: cancellation.write(store, RUN, "ann")).start()
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Cancelled, match=r"^cancelled by ann, ") as ended, cancellation.heeded(store, RUN):
        stubborn()
    assert ended.value.exit_code == 4
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_was_saved_is_said(store: Store) -> None:
    with pytest.raises(Cancelled, match=r"^cancelled by ann, [-0-9 :]+ UTC; saved at step 7$"):  # noqa: SIM117
        with cancellation.heeded(store, RUN):
            cancellation.write(store, RUN, "ann")
            raise Preempted("saved at step 7")


def test_work_of_a_cancelled_run_does_not_begin(store: Store) -> None:
    cancellation.write(store, RUN, "ann")
    with pytest.raises(Cancelled), cancellation.heeded(store, RUN):
        pytest.fail("it has begun")


def test_a_signal_alone_is_a_preemption(store: Store) -> None:
    with pytest.raises(Preempted, match=r"^stopped by SIGTERM, preempted; run it again to go on$"):  # noqa: SIM117
        with cancellation.heeded(store, RUN):
            os.kill(os.getpid(), signal.SIGTERM)
            stubborn()


class Away:
    """A store that does not answer."""

    def get(self, key: str) -> bytes:
        raise StoreError("the store does not answer")


def test_a_store_that_does_not_answer_disturbs_nobody() -> None:
    away: Any = Away()
    with cancellation.heeded(away, RUN):
        time.sleep(0.3)


def test_a_forked_worker_ends_of_the_signal_as_if_there_were_no_block(store: Store) -> None:
    with cancellation.heeded(store, RUN):
        worker = multiprocessing.get_context("fork").Process(target=stubborn)
        worker.start()
        time.sleep(0.2)
        worker.terminate()
        worker.join(10)
        assert worker.exitcode == -signal.SIGTERM


def test_a_preemption_says_once_what_to_do() -> None:
    error = Preempted("saved at step 7")
    assert str(Preempted(str(error))) == str(error) == "saved at step 7, preempted; run it again to go on"
    assert error.done == "saved at step 7" and isinstance(error, ModelmillError)
