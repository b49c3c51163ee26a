"""What a plan says of preprocessing: its cost, and the vocabulary that a model will have."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from modelmill import recipe as recipes
from modelmill.corpus.text import tokenizer
from modelmill.pipelines.planning.estimates import estimate
from modelmill.pipelines.planning.plan import plan
from tests.component.steps import Steps
from tests.recipes import language_recipe, source_file, table_recipe, write_corpus, write_table


@pytest.mark.parametrize(
    ("fit", "cost"),
    [
        ("always", "; fits anew and encodes every shard (preprocessing.fit: always)"),
        ("once", "; encodes new shards only (preprocessing.fit: once)"),
    ],
)
def test_a_plan_says_what_new_data_costs_preprocessing(fit: str, cost: str, tmp_path: Path) -> None:
    data = write_table(tmp_path / "data")
    steps = Steps(table_recipe(tmp_path, data), tmp_path / "steps", f"preprocessing.fit={fit}")
    steps.corpus()
    recipe = recipes.from_json(steps.recipe)
    assert plan(recipe, steps.store)[1].status == "reused"
    (data / "more.csv").write_text("id,width,height,kind\n900,2,1,big\n")
    assert plan(recipe, steps.store)[1].reason == f"after data_validation{cost}"


def test_a_tokenizer_from_elsewhere_is_not_fitted_and_no_such_thing_is_said(tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "data")
    steps = Steps(recipe_with_tokenizer(tmp_path, data), tmp_path / "steps")
    steps.corpus()
    (data / "part-99.jsonl").write_text(json.dumps({"path": "new.py", "text": source_file(1)}) + "\n")
    assert plan(recipes.from_json(steps.recipe), steps.store)[1].reason == "after data_validation"


def test_a_tokenizer_from_elsewhere_says_how_large_the_vocabulary_is(tmp_path: Path) -> None:
    steps = Steps(recipe_with_tokenizer(tmp_path, write_corpus(tmp_path / "data")), tmp_path / "steps")
    recipe = recipes.from_json(steps.recipe)
    before = estimate(recipe, steps.store, plan(recipe, steps.store))["pretraining"]
    steps.pretrained(steps.corpus())
    assert before.parameters == steps.record("pretraining").metrics["parameters"]


def recipe_with_tokenizer(folder: Path, data: Path) -> Path:
    """A recipe whose tokenizer is one that another recipe has fitted."""
    tokenizer.train(iter([source_file(1), source_file(2)]), 320, folder / "model")
    (folder / "model" / "config.json").write_text("{}")
    save_file({"weight": np.zeros(1, np.float32)}, folder / "model" / "model.safetensors")
    return language_recipe(folder, data, preprocessing__tokenizer={"from": str(folder / "model")})
