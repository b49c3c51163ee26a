"""Pretraining and fine-tuning in two processes, over gloo: the same training as in one."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from modelmill.recipe import Training
from modelmill.runtime import run_records
from modelmill.store import manifest
from modelmill.store.manifest import Manifest
from tests.component.steps import Steps
from tests.recipes import language_recipe, table_recipe, write_corpus, write_table

pytestmark = pytest.mark.usefixtures("forks")

TOGETHER = ("pretraining.devices=2", "fine_tuning.devices=2")
STEPS = 60


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In fp32, so that what differs between numbers of processes is rounding alone."""
    folder = tmp_path_factory.mktemp("several")
    changes = {"pretraining__precision": "fp32", "fine_tuning__precision": "fp32", "pretraining__steps": STEPS}
    return language_recipe(folder, write_corpus(folder / "data"), **changes, pretraining__ema=0.9)


class Trained:
    """Pretraining and fine-tuning in a store of their own, since the number of processes is no part of a step's key."""

    def __init__(self, recipe: Path, folder: Path, *overrides: str) -> None:
        self.steps = Steps(recipe, folder, *overrides)
        self.corpus = self.steps.corpus()
        self.pretrained = self.steps.pretrained(self.corpus)
        self.metrics = self.steps.record("pretraining").metrics
        self.tuned = self.steps.tuned(self.corpus, self.pretrained)

    def losses(self, model: Manifest) -> list[float]:
        rows = manifest.read_entry(self.steps.store, model.entry("history.jsonl")).splitlines()
        return [row["loss"] for row in map(json.loads, rows)]

    def weights(self, model: Manifest) -> dict[str, torch.Tensor]:
        return load_file(self.steps.folder_of(model, "model") / "model.safetensors")


@pytest.fixture(scope="module")
def alone(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(recipe, tmp_path_factory.mktemp("alone"))


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_have_the_loss_curve_of_one(recipe: Path, alone: Trained, tmp_path: Path, strategy: str) -> None:
    """With the same global batch, put through the model one example at a time."""
    overrides = [f"{stage}.{what}" for stage in ("pretraining", "fine_tuning")
                 for what in (f"strategy={strategy}", "micro_batch_size=1")]  # fmt: skip
    together = Trained(recipe, tmp_path, *TOGETHER, *overrides)
    for stage in ("pretrained", "tuned"):
        mine, theirs = getattr(together, stage), getattr(alone, stage)
        assert together.losses(mine) == pytest.approx(alone.losses(theirs), rel=2e-3)
        assert mine.info["best_validation_loss"] == pytest.approx(theirs.info["best_validation_loss"], rel=2e-3)
        assert together.weights(mine).keys() == alone.weights(theirs).keys()
    assert together.losses(together.pretrained) != alone.losses(alone.pretrained), "it did run in two processes"
    assert together.metrics["device_seconds"] > together.metrics["train_seconds"]


def when_trained(steps: Steps, call: int, act: Callable[[], None], beyond: int = 0) -> None:
    """Act once so many steps of pretraining are done in a call that is under way."""

    def wait() -> None:
        while True:
            record = run_records.read_step(steps.store, str(call), "pretraining")
            at = record.progress if record else None
            if at and at.text.startswith("loss") and at.done > beyond:
                return act()
            time.sleep(0.01)

    threading.Thread(target=wait, daemon=True).start()


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 2)])
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_training_goes_on_in_another_number_of_processes(
    recipe: Path, alone: Trained, tmp_path: Path, first: int, then: int, strategy: str
) -> None:
    def steps(devices: int) -> Steps:
        return Steps(recipe, tmp_path, f"pretraining.devices={devices}", f"pretraining.strategy={strategy}")

    begun = steps(first)
    corpus = begun.corpus()
    when_trained(begun, begun.calls + 1, terminate)
    code, message = begun.fails("pretraining", ["model"], corpus=corpus)
    assert code == 75 and "saved at step" in message and "preempted" in message
    gone_on = steps(then)
    gone_on.calls = begun.calls
    model = gone_on.pretrained(corpus)
    resumed = gone_on.record("pretraining").metrics["resumed_from_step"]
    assert f"saved at step {resumed}, preempted" in message and 0 < resumed < STEPS
    rows = [json.loads(row) for row in manifest.read_entry(begun.store, model.entry("history.jsonl")).splitlines()]
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert [row["loss"] for row in rows] == pytest.approx(alone.losses(alone.pretrained), rel=5e-3)


def test_one_process_that_is_killed_ends_all_and_the_same_bits_come_after(recipe: Path, tmp_path: Path) -> None:
    whole = Steps(recipe, tmp_path / "whole", TOGETHER[0])
    corpus = whole.corpus()
    expected = whole.pretrained(corpus)
    cut = Steps(recipe, tmp_path / "cut", TOGETHER[0], "pretraining.checkpoint_seconds=0")
    corpus = cut.corpus()
    when_trained(cut, cut.calls + 1, lambda: os.kill(process_of(cut.folder, rank=1), signal.SIGKILL), beyond=5)
    code, message = cut.fails("pretraining", ["model"], corpus=corpus)
    assert code == 1 and "one of its processes was killed" in message
    assert cut.pretrained(corpus).entries == expected.entries
    assert cut.record("pretraining").metrics["resumed_from_step"] > 0


def process_of(folder: Path, rank: int) -> int:
    """The process of a rank that trains into the store below a folder."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            is_worker = b"modelmill.components.pretraining" in (process / "cmdline").read_bytes()
            variables = (process / "environ").read_bytes().split(b"\0")
            if is_worker and f"RANK={rank}".encode() in variables and str(folder) in job_of(process):
                return int(process.name)
        except OSError:
            continue
    raise AssertionError("no such process")


def job_of(process: Path) -> str:
    """The job file that a process was started with, as text."""
    folder = (process / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")[-1].decode().removeprefix("file://")
    return (Path(folder) / "objects" / "job.json").read_text()


def test_what_a_user_got_wrong_is_one_line_of_the_step(tmp_path: Path) -> None:
    recipe = table_recipe(tmp_path, write_table(tmp_path / "data", rows=206))
    steps = Steps(recipe, tmp_path / "steps", "fine_tuning.devices=2")
    corpus = steps.corpus()
    nothing = steps.pretrained(corpus)
    rows = sum(corpus.info["splits"]["train"].values())
    code, message = steps.fails("fine_tuning", ["model"], corpus=corpus, pretrained=nothing)
    assert rows % 2 and code == 2
    assert f"batch_size: all: 2 devices cannot share {rows} examples evenly; set batch_size to {rows - 1}" in message


def test_a_batch_that_the_devices_cannot_share_is_refused_in_the_recipe() -> None:
    with pytest.raises(ValueError, match="3 devices cannot share a batch_size of 16 evenly; try 18"):
        Training(steps=1, learning_rate=0.1, batch_size=16, devices=3)
