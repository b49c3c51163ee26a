"""Nodes of a TrainJob that listen to their step."""

import time
from types import SimpleNamespace
from typing import Any

import pytest

from modelmill.core.errors import Preempted
from modelmill.runtime import cancellation
from modelmill.store import Store, StoreError, open_store
from modelmill.training.launch import heartbeat, job


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancellation, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(heartbeat, "STALE_SECONDS", 0.8)


@pytest.fixture
def folder(store: Store) -> Store:
    return open_store(f"{store.uri}/runs/1/jobs/fine-tuning-abc")


@pytest.fixture
def step(store: Store) -> Any:
    return SimpleNamespace(name="fine_tuning", store=store, run_id="1")


def test_nodes_work_for_as_long_as_their_step_gives_signs_of_life(step: Any, folder: Store) -> None:
    with heartbeat.kept(folder), heartbeat.heeded(step, folder, rank=0):
        time.sleep(2.0)
    assert not heartbeat.stopped(folder)


def test_nodes_end_when_it_gives_none_and_do_not_begin_again(step: Any, folder: Store) -> None:
    with heartbeat.kept(folder):
        time.sleep(0.2)
    with pytest.raises(Preempted), heartbeat.heeded(step, folder, rank=0):
        time.sleep(10)
    assert "no sign of life" in heartbeat.stopped(folder)
    with pytest.raises(Preempted, match="not begun"), heartbeat.heeded(step, folder, rank=0):
        pytest.fail("it has begun")
    job.clear(folder)
    assert not heartbeat.stopped(folder), "another attempt begins anew"


def test_only_the_first_process_listens(step: Any, folder: Store) -> None:
    with heartbeat.heeded(step, folder, rank=1):
        time.sleep(1.5)


def test_a_store_that_is_away_is_no_dead_step(step: Any, folder: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def get(key: str) -> bytes:
        raise StoreError("the store does not answer")

    monkeypatch.setattr(folder, "get", get)
    with heartbeat.heeded(step, folder, rank=0):
        time.sleep(1.5)
