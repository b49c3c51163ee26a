"""Preferences, labelled answers and a teacher through the steps: rows in; an adapter, a model and its measures out."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from modelmill.store import manifest
from modelmill.store.manifest import Manifest
from tests.component.killed import kill_fine_tuning
from tests.component.steps import Steps
from tests.preference_steps import Tuned, write_model, write_recipe

ONCE = "scores of answers under the reference: computed once"
AGAIN = "scores of answers under the reference: those that an earlier run kept"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    changes = {"fine_tuning__preference": {"beta": 0.5}, "fine_tuning__steps": 30}
    return write_recipe(tmp_path_factory.mktemp("dpo"), "dpo", "preferences", model, **changes)


@pytest.fixture(scope="module")
def dpo(tmp_path_factory: pytest.TempPathFactory, recipe: Path) -> Tuned:
    return Tuned(recipe, tmp_path_factory.mktemp("steps"))


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Tuned:
    teacher = write_model(tmp_path_factory.mktemp("teacher"), seed=5)
    changes = {
        "fine_tuning__steps": 20,
        "fine_tuning__method": "full",
        "fine_tuning__distillation": {"teacher": str(teacher), "top_k": 400},
    }
    recipe = write_recipe(tmp_path_factory.mktemp("distil"), "distil", "messages", model, **changes)
    return Tuned(recipe, tmp_path_factory.mktemp("steps"))


@pytest.fixture(params=["dpo", "student"])
def trained(request: pytest.FixtureRequest) -> Tuned:
    """A fine-tuning whose loss needs what another model has computed: the reference, or the teacher."""
    tuned: Tuned = request.getfixturevalue(request.param)
    return tuned


def weights(tuned: Tuned, made: Manifest, folder: str = "model", name: str = "model") -> dict[str, torch.Tensor]:
    return load_file(tuned.steps.folder_of(made, folder) / f"{name}.safetensors")


def history(steps: Steps, made: Manifest) -> list[dict[str, float]]:
    return [json.loads(row) for row in manifest.read_entry(steps.store, made.entry("history.jsonl")).splitlines()]


def measured(tuned: Tuned) -> dict[str, Any]:
    evaluation = tuned.steps.evaluated(tuned.corpus, tuned.pretrained, tuned.model)
    metrics: dict[str, Any] = evaluation.info["metrics"]
    return metrics


def test_dpo_trains_an_adapter_that_finds_the_better_answers_likelier(dpo: Tuned) -> None:
    adapter = weights(dpo, dpo.model, "adapter", "adapter_model")
    assert all(weight.abs().max() > 0 for name, weight in adapter.items() if "lora_B" in name)
    before, after = weights(dpo, dpo.pretrained), weights(dpo, dpo.model)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert len(moved) == len(adapter) / 2 and all("_proj" in name for name in moved)
    rows = history(dpo.steps, dpo.model)
    assert rows[0]["loss"] == pytest.approx(0.6931, abs=1e-3), "the model is the reference before the first step"
    assert rows[-1]["loss"] < 0.5
    metrics = measured(dpo)
    assert metrics["preference_margin"] > metrics["preference_margin_before"]
    assert metrics["preference_accuracy"] == metrics["reward_accuracy"] == 1.0


def test_another_beta_and_rate_find_the_scores_of_the_reference(
    dpo: Tuned, recipe: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "modelmill")
    other = Steps(recipe, tmp_path, "fine_tuning.preference={beta: 0.1}", "fine_tuning.learning_rate=0.003")
    other.store = dpo.steps.store
    known = list(other.store.stats("reference_scores/"))
    made = other.tuned(dpo.corpus, dpo.pretrained)
    assert made.digest != dpo.model.digest and len(known) == 1
    assert made.info["reference_scores"] == dpo.model.info["reference_scores"]
    assert list(other.store.stats("reference_scores/")) == known
    assert AGAIN in caplog.text and ONCE not in caplog.text


@pytest.mark.parametrize(("objective", "source"), [("orpo", "preferences"), ("kto", "labelled")])
def test_other_objectives_move_their_measures_too(
    objective: str, source: str, model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "modelmill")
    changes = {"fine_tuning__preference": {"beta": 0.5}, "fine_tuning__steps": 20}
    tuned = Tuned(write_recipe(tmp_path, objective, source, model, **changes), tmp_path / "steps")
    assert (ONCE in caplog.text) == (objective == "kto")
    rows = history(tuned.steps, tuned.model)
    assert rows[-1]["loss"] < rows[0]["loss"]
    metrics, margin = measured(tuned), {"orpo": "preference_margin", "kto": "label_margin"}[objective]
    assert metrics[margin] > metrics[f"{margin}_before"]


def test_a_student_of_conversations_comes_nearer_to_its_teacher(student: Tuned) -> None:
    assert list(student.steps.store.list("teachers/"))
    rows = history(student.steps, student.model)
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]
    assert "digest" in student.model.info["teacher"]
    assert measured(student)["response_bits_per_byte"] > 0


KEPT = ("reference_scores/", "teachers/")


def kept(steps: Steps) -> set[str]:
    """Keys of what the other model has computed."""
    return {key for prefix in KEPT for key in steps.store.list(prefix)}


def beside(tuned: Tuned, folder: Path, *overrides: str, is_kept: bool = True) -> Steps:
    """Steps over a copy of the store, in which nothing is fine-tuned yet.

    Args:
        tuned: The fine-tuning.
        folder: Folder for the copy.
        overrides: Changes of its recipe.
        is_kept: Whether the copy has what the other model has computed.
    """
    shutil.copytree(tuned.steps.folder / "store", folder / "store")
    steps = Steps(tuned.recipe, folder, *overrides)
    for key in {*steps.store.list("memo/fine_tuning/"), *(kept(steps) if not is_kept else ())}:
        steps.store.delete(key)
    steps.calls = tuned.steps.calls
    return steps


def test_a_training_that_is_killed_ends_with_the_same_bits(trained: Tuned, tmp_path: Path) -> None:
    steps = beside(trained, tmp_path, "fine_tuning.checkpoint_seconds=0")
    kill_fine_tuning(steps, trained.corpus, trained.pretrained, tmp_path)
    made = steps.tuned(trained.corpus, trained.pretrained)
    assert steps.record("fine_tuning").metrics["resumed_from_step"] > 0
    assert made.entries == trained.model.entries


@pytest.mark.usefixtures("forks")
def test_two_processes_train_as_one_does(trained: Tuned, tmp_path: Path) -> None:
    steps = beside(trained, tmp_path, "fine_tuning.devices=2", is_kept=False)
    made = steps.tuned(trained.corpus, trained.pretrained)
    mine, theirs = history(steps, made), history(trained.steps, trained.model)
    assert [row["loss"] for row in mine] == pytest.approx([row["loss"] for row in theirs], rel=2e-3)
    assert made.info["best_validation_loss"] == pytest.approx(trained.model.info["best_validation_loss"], rel=2e-3)
    assert mine != theirs, "it did run in two processes"
    assert kept(steps) == kept(trained.steps)
