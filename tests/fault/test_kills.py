"""Runs that are killed, and disks that fill: the same command again ends where an undisturbed run ends."""

import os
import random
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelmill.recipe.step_specs import STEPS
from modelmill.runtime import run_records
from modelmill.store import open_store
from tests import cli
from tests.recipes import language_recipe, write_corpus

# A checkpoint after every step, and enough steps that a kill at a random moment finds training under way.
OFTEN = ("--set", "pretraining.checkpoint_seconds=0", "--set", "fine_tuning.checkpoint_seconds=0")
STEPS_OF_PRETRAINING = 200


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kills")
    return language_recipe(folder, write_corpus(folder / "data"), pretraining__steps=STEPS_OF_PRETRAINING)


@pytest.fixture(scope="module")
def undisturbed(recipe: Path) -> dict[str, Any]:
    summary = cli.run_json(recipe, recipe.parent / "undisturbed")
    assert summary["returncode"] == 0, summary["stderr"]
    return summary


def digests(summary: dict[str, Any]) -> dict[str, str]:
    return {step["name"]: step["output_digest"] for step in summary["steps"]}


def records(store: Path, step: str) -> list[run_records.StepRecord]:
    """The records of a step in every run of the store, oldest first."""
    opened = open_store(f"file://{store}")
    found = (run_records.read_step(opened, run_id, step) for run_id in run_records.run_ids(opened))
    return [record for record in found if record is not None]


def trained_beyond(store: Path, step: int) -> Callable[[], bool]:
    def beyond() -> bool:
        return any(
            r.status == "running" and r.progress and r.progress.done > step for r in records(store, "pretraining")
        )

    return beyond


def is_running(store: Path, step: str) -> Callable[[], bool]:
    """The step has begun in a run that was not there before."""
    known = {record.started for record in records(store, step)}
    return lambda: any(record.started not in known for record in records(store, step))


def test_a_run_killed_again_and_again_in_pretraining_ends_with_the_same_bits(
    recipe: Path, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    store, moment = tmp_path / "store", random.Random()
    reached = 0
    for _ in range(3):
        if reached > STEPS_OF_PRETRAINING / 3:
            break  # a fast machine: the next kill might come too late
        assert cli.kill_run_when(recipe, store, trained_beyond(store, reached), *OFTEN, after=moment.random() / 4)
        assert cli.wait_until(lambda: not cli.processes_of(store)), "its runner or its step lives on"
        reached = max(int(record.progress.done) for record in records(store, "pretraining") if record.progress)
    done = cli.run_json(recipe, store, *OFTEN)
    assert done["returncode"] == 0, done["stderr"]
    pretraining = next(step for step in done["steps"] if step["name"] == "pretraining")
    assert pretraining["metrics"]["resumed_from_step"] > 0
    for step in ("pretraining", "fine_tuning"):
        expected = cli.weights_of(recipe.parent / "undisturbed", undisturbed, step)
        assert cli.weights_of(store, done, step) == expected
    assert digests(done) == digests(undisturbed)
    assert not list(open_store(f"file://{store}").list("checkpoints/")), "finished steps need none"


def test_a_run_killed_once_in_every_step_registers_one_model(
    recipe: Path, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    store, moment = tmp_path / "store", random.Random()
    for step in STEPS:
        cli.kill_run_when(recipe, store, is_running(store, step), *OFTEN, after=moment.random())
        assert cli.wait_until(lambda: not cli.processes_of(store)), "its runner or its step lives on"
    done = cli.run_json(recipe, store, *OFTEN)
    assert done["returncode"] == 0, done["stderr"]
    assert digests(done) == digests(undisturbed)
    versions = cli.registry(store).search_model_versions("name='tiny-lm'")
    verified = [str(v.version) for v in versions if v.tags.get("modelmill.verified") == "true"]
    assert verified == [done["model"]["version"]]
    assert done["model"]["alias"] == "champion"


def signals_the_step(store: Path, signal_number: int) -> Callable[[], bool]:
    """Sends a signal to pretraining's process once it has trained for some steps."""
    trained = trained_beyond(store, 5)

    def send() -> bool:
        if not trained():
            return False
        for process in cli.steps_of(store):
            os.kill(process, signal_number)
        return True

    return send


@pytest.mark.parametrize(
    ("signal_number", "exit_code", "reason"),
    [
        (signal.SIGKILL, 1, "pretraining: its process was killed"),
        (signal.SIGTERM, 75, "pretraining: saved at step"),
    ],
)
def test_a_step_that_is_ended_is_named_with_the_command_that_resumes_it(
    recipe: Path, undisturbed: dict[str, Any], tmp_path: Path, signal_number: int, exit_code: int, reason: str
) -> None:
    store = tmp_path / "store"
    with cli.started("run", recipe, *OFTEN, MODELMILL_STORE=f"file://{store}") as process:
        assert cli.wait_until(signals_the_step(store, signal_number), 120)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == exit_code
    assert reason in errors
    assert f"again: modelmill run {recipe}" in errors
    assert "Traceback" not in errors
    assert not records(store, "fine_tuning")
    done = cli.run_json(recipe, store, *OFTEN)
    assert digests(done) == digests(undisturbed)


def test_sigterm_saves_the_step_it_comes_in(recipe: Path, tmp_path: Path) -> None:
    store, seldom = tmp_path / "store", ("--set", "pretraining.checkpoint_seconds=10000")
    with cli.started("run", recipe, *seldom, MODELMILL_STORE=f"file://{store}") as process:
        assert cli.wait_until(signals_the_step(store, signal.SIGTERM), 120)
        _, errors = process.communicate(timeout=120)
    reached = re.search(r"saved at step (\d+), preempted", errors)
    assert process.returncode == 75 and reached, errors
    done = cli.run_json(recipe, store, *seldom)
    pretraining = next(step for step in done["steps"] if step["name"] == "pretraining")
    assert pretraining["metrics"]["resumed_from_step"] == int(reached[1])
