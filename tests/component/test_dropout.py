"""Dropout is on while a model is trained and off when it is measured."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from modelmill import recipe as recipes
from modelmill.recipe import task_packages
from modelmill.store import manifest
from modelmill.store.manifest import Manifest
from tests.component.steps import Steps
from tests.recipes import language_recipe, table_recipe, write_corpus, write_table


def test_attention_and_adapters_drop_in_training_alone(tmp_path: Path) -> None:
    recipe = language_recipe(
        tmp_path, write_corpus(tmp_path / "data"), pretraining__precision="fp32", fine_tuning__precision="fp32"
    )
    plain, attention, adapters = (
        Steps(recipe, tmp_path / "steps", *overrides)
        for overrides in ([], ["model.attention_dropout=0.5"], ["fine_tuning.lora.dropout=0.5"])
    )
    corpus = plain.corpus()
    pretrained = plain.pretrained(corpus)
    assert_dropped(attention, attention.pretrained(corpus), pretrained, "pretraining")
    assert_dropped(adapters, adapters.tuned(corpus, pretrained), plain.tuned(corpus, pretrained), "fine_tuning")


def test_a_perceptron_drops_in_training_alone(tmp_path: Path) -> None:
    recipe = table_recipe(tmp_path, write_table(tmp_path / "data"), fine_tuning__steps=20)
    plain, dropping = (Steps(recipe, tmp_path / "steps", *overrides) for overrides in ([], ["model.dropout=0.5"]))
    corpus = plain.corpus()
    nothing = plain.pretrained(corpus)
    assert_dropped(dropping, dropping.tuned(corpus, nothing), plain.tuned(corpus, nothing), "fine_tuning")


def assert_dropped(steps: Steps, made: Manifest, plain: Manifest, stage: str) -> None:
    """Something else was learned than without dropout, and measured without it: on what was kept, at any time."""
    one, other = (load_file(steps.folder_of(m, "model") / "model.safetensors") for m in (made, plain))
    assert any(not torch.equal(one[name], other[name]) for name in one)
    assert made.info["best_validation_loss"] == pytest.approx(measured(steps, made, stage), rel=1e-5)


def measured(steps: Steps, made: Manifest, stage: str) -> float:
    """The validation loss of what was kept."""
    recipe = recipes.from_json(steps.recipe)
    corpus = manifest.load(steps.store, made.made_from["preprocessing.corpus"])
    files = manifest.fetch(steps.store, corpus.entries, steps.folder / "files")
    task = task_packages.training(recipe.task).make_task(corpus, files, recipe.model)
    examples = task.examples(stage, "validation")
    batch = examples.batch(np.arange(len(examples)))
    with torch.no_grad():
        return task.loss(task.load(steps.folder_of(made, "model")).eval(), batch).item() / task.terms(batch)
