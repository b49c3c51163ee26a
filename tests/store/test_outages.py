"""A store that is away for a while: a training goes on without its records, and its checkpoint is committed after."""

import logging
from pathlib import Path

import pytest
import torch
from tenacity import wait_none

from modelmill.recipe import Recipe
from modelmill.runtime import run_records, step_runtime
from modelmill.runtime.run_records import StepRecord
from modelmill.runtime.step_runtime import Step
from modelmill.store import StoreAway, StoreError, open_store, outages, s3_client
from modelmill.training.loop.checkpoint import Checkpoints, Snapshot
from tests.store.proxy import Proxy


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tries a request in place of eight, and none of the pauses."""
    monkeypatch.setattr(s3_client, "_CONFIG", s3_client._CONFIG.merge(_tries(2)))
    monkeypatch.setattr(outages, "PAUSE", wait_none())


def _tries(number: int) -> object:
    from botocore.config import Config

    return Config(retries={"mode": "standard", "total_max_attempts": number})


def test_a_checkpoint_is_committed_when_the_store_is_back(
    proxy: Proxy, s3_uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(s3_uri)
    checkpoints = Checkpoints(store, "key", tmp_path)
    proxy.cut("requests", times=9)
    with caplog.at_level(logging.WARNING, "modelmill"):
        checkpoints.save(Snapshot({"w": torch.arange(4.0)}, {"step": 7}))
        checkpoints.wait()
    assert proxy.cuts == 9, "the store was away for longer than boto3 tries"
    assert [line for line in caplog.messages if "checkpoint" in line and "is tried again for 600 s" in line]
    saved = checkpoints.load()
    assert saved is not None and saved.state == {"step": 7}


def test_a_store_that_stays_away_ends_the_training(
    proxy: Proxy, s3_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outages, "SECONDS", 0.0)
    checkpoints = Checkpoints(open_store(s3_uri), "key", tmp_path)
    proxy.cut("requests", times=1000)
    checkpoints.save(Snapshot({"w": torch.arange(4.0)}, {"step": 7}))
    with pytest.raises(StoreAway):
        checkpoints.wait()


def test_what_a_user_can_mend_is_no_outage(s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with pytest.raises(StoreError) as refused:
        open_store(s3_uri).put("key", b"")
    assert not isinstance(refused.value, StoreAway)


def test_a_step_goes_on_without_its_record(
    proxy: Proxy, s3_uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_runtime, "PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr(step_runtime, "AWAY_SECONDS", 0.0)
    store = open_store(s3_uri)
    record = StepRecord(name="pretraining", status="running", started=1.0)
    recipe = Recipe.model_construct()
    step = Step("pretraining", recipe, "", {}, {"inputs": {}}, store, "run", tmp_path, record)  # type: ignore[typeddict-item]
    step.progress(1, 10, "loss 3")
    proxy.cut("requests", times=4)
    with caplog.at_level(logging.WARNING, "modelmill"):
        step.progress(2, 10, "loss 2")
        step.progress(3, 10, "loss 1")
    assert caplog.text.count("pretraining goes on without its record") == 1
    step.progress(4, 10, "loss 0")
    kept = run_records.read_step(store, "run", "pretraining")
    assert kept is not None and kept.progress is not None and kept.progress.done == 4
