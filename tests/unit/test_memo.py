"""A step's key changes with what it depends on and with nothing else; the plan's reasons say what changed."""

import os
from pathlib import Path
from typing import Any

import pytest

from modelmill import recipe as recipes
from modelmill.recipe import Recipe
from modelmill.recipe.step_specs import STEPS, visible_to
from modelmill.runtime import memo
from modelmill.store import Store, blobs, manifest
from modelmill.store.manifest import Manifest
from tests.recipes import language_recipe


def load(folder: Path, *overrides: str) -> Recipe:
    return recipes.load(language_recipe(folder, folder / "data"), list(overrides))


def key(step: str, recipe: Recipe) -> str:
    return memo.key_of(memo.key_document(step, recipe, dict.fromkeys(STEPS[step].made_from, "0" * 64)))


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("fine_tuning.learning_rate=0.5", {"fine_tuning"}),
        ("pretraining.steps=7", {"pretraining"}),
        ("preprocessing.test=0.2", {"preprocessing"}),
        ("seed=5", {"pretraining", "fine_tuning", "evaluation"}),
        ("evaluation.samples=0", {"evaluation"}),
        ("registration.model=other", {"registration"}),
        ("pretraining.checkpoint_seconds=1", set()),
        ("resources.pretraining.cpu='4'", set()),
    ],
)
def test_a_setting_changes_the_keys_of_the_steps_that_read_it(tmp_path: Path, override: str, changed: set[str]) -> None:
    before, after = load(tmp_path), load(tmp_path, override)
    assert {step for step in STEPS if key(step, before) != key(step, after)} == changed


def test_moving_the_data_changes_no_key(tmp_path: Path) -> None:
    before, after = load(tmp_path), load(tmp_path, "data.path=elsewhere")
    assert all(key(step, before) == key(step, after) for step in STEPS)


def test_a_step_cannot_read_a_setting_that_is_not_in_its_key(tmp_path: Path) -> None:
    visible = visible_to("pretraining", load(tmp_path))
    assert visible.pretraining is not None and visible.model is not None
    assert visible.fine_tuning is None and visible.preprocessing is None and visible.evaluation is None
    assert visible_to("preprocessing", load(tmp_path)).data.suite is None


def test_data_validation_reads_of_pairs_only_what_changes_its_columns(tmp_path: Path) -> None:
    seen: Any = visible_to("data_validation", load(tmp_path)).preprocessing
    assert seen.pairs.source == "python_docstrings" and seen.pairs.malformed == "refuse"
    assert seen.pairs.too_long is None and seen.tokenizer is None and seen.sequence_length is None
    keys = {
        change: key("data_validation", load(tmp_path, change))
        for change in ("seed=1", "preprocessing.pairs.too_long=drop", "preprocessing.pairs.malformed=leave_out")
    }
    assert keys["preprocessing.pairs.too_long=drop"] == keys["seed=1"]
    assert keys["preprocessing.pairs.malformed=leave_out"] != keys["seed=1"]


def finish(store: Store, recipe: Recipe, step: str = "preprocessing") -> tuple[memo.KeyDocument, Manifest]:
    document = memo.key_document(step, recipe, dict.fromkeys(STEPS[step].made_from, "0" * 64))
    made = Manifest(kind="corpus", entries=[manifest.add_bytes(store, b"tokens", "train/0.npy")])
    outputs = {"corpus": manifest.save(store, made)}
    finished = memo.Finished(document=document, outputs=outputs, values={}, metrics={}, headline="", seconds=1.0)
    memo.commit(store, finished)
    memo.remember(store, document, recipe.name)
    return document, made


def test_a_finished_step_is_found_until_one_of_its_bytes_is_gone(tmp_path: Path, store: Store) -> None:
    document, made = finish(store, load(tmp_path))
    assert memo.find(store, document) is not None
    store.delete(blobs.key_of(made.entries[0].sha256))
    assert memo.find(store, document) is None
    assert memo.why(store, document, "tiny-lm") == "its outputs are no longer there"


def test_a_truncated_blob_is_not_reused(tmp_path: Path, store: Store) -> None:
    document, made = finish(store, load(tmp_path))
    file = store.local_path(blobs.key_of(made.entries[0].sha256))
    assert file is not None
    os.truncate(file, 3)
    assert memo.find(store, document) is None


def test_the_reason_names_the_setting_and_both_values(tmp_path: Path, store: Store) -> None:
    finish(store, load(tmp_path))
    changed = load(tmp_path, "preprocessing.sequence_length=32")
    document = memo.key_document("preprocessing", changed, dict.fromkeys(STEPS["preprocessing"].made_from, "0" * 64))
    assert memo.why(store, document, "tiny-lm") == "settings changed: preprocessing.sequence_length (64 -> 32)"


def test_the_reason_names_changed_inputs_and_code(tmp_path: Path, store: Store) -> None:
    document, _ = finish(store, load(tmp_path))
    inputs = {**document["inputs"], "data_validation.dataset": "1" * 64}
    assert memo.why(store, {**document, "inputs": inputs}, "tiny-lm") == "data_validation made another dataset"
    code = {**document["code"], "numpy": "0.0"}
    assert memo.why(store, {**document, "code": code}, "tiny-lm").startswith("code changed: numpy ")
    waiting = {**document, "inputs": {**document["inputs"], "data_validation.dataset": None}}
    assert memo.why(store, waiting, "tiny-lm") == "after data_validation"
    assert memo.why(store, document, "another-recipe") == "first run"
