"""`modelmill lr-find`: rates tried on a stage of a recipe, from the command line."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from modelmill.runtime import run_records
from modelmill.store import open_store
from tests import cli
from tests.component.steps import Steps
from tests.pipeline.conftest import Finished
from tests.recipes import table_recipe, write_table


def lr_find(recipe: Path, store: Path, *arguments: str) -> dict[str, Any]:
    """What `lr-find --json` prints, with the page beside the store."""
    output = store.parent / "lr-find.html"
    done = cli.modelmill("lr-find", recipe, "--store", f"file://{store}", "--json", "-o", output, *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_rates_are_tried_and_nothing_but_the_steps_before_is_kept(tmp_path: Path) -> None:
    recipe, store = table_recipe(tmp_path, write_table(tmp_path / "data")), tmp_path / "store"
    first = lr_find(recipe, store, "--from", "1e-3", "--to", "50")
    assert first["stage"] == "fine_tuning" and 1e-3 <= first["suggestion"] <= 50
    opened = open_store(f"file://{store}")
    assert run_records.run_ids(opened) == []
    assert {key.split("/")[1] for key in opened.list("memo/")} == {"data_validation", "preprocessing", "pretraining"}
    assert list(opened.list("checkpoints/")) == []
    assert lr_find(recipe, store, "--from", "1e-3", "--to", "50") == first


def test_the_suggested_rate_learns(tmp_path: Path) -> None:
    recipe = table_recipe(tmp_path, write_table(tmp_path / "data"))
    found = lr_find(recipe, tmp_path / "store", "--from", "1e-3", "--to", "50")
    steps = Steps(recipe, tmp_path / "steps", "fine_tuning.steps=40", *found["command"].split(" --set ")[1:])
    corpus = steps.corpus()
    steps.tuned(corpus, steps.pretrained(corpus))
    assert steps.record("fine_tuning").metrics["validation_loss"] < 0.7 * found["rows"][0]["loss"]


@pytest.mark.parametrize("stage", ["pretraining", "fine_tuning"])
def test_both_stages_of_a_language_model_are_tried(stage: str, language_run: Finished, tmp_path: Path) -> None:
    store = language_run.copy(tmp_path)
    before = run_records.run_ids(open_store(f"file://{store}"))
    found = lr_find(language_run.recipe, store, "--stage", stage, "--steps", "40", "--from", "1e-4", "--to", "0.1")
    assert found["stage"] == stage and len(found["rows"]) <= 40
    assert 1e-4 <= found["suggestion"] <= 0.1
    # Random weights know nothing of 320 tokens; fine-tuning begins where pretraining ended.
    assert (found["rows"][0]["loss"] > 5.5) == (stage == "pretraining")
    assert f"--set {stage}.learning_rate={found['suggestion']:.2g}" in found["command"]
    assert run_records.run_ids(open_store(f"file://{store}")) == before


def test_people_get_a_short_table_and_a_page_with_the_curve(table_run: Finished, tmp_path: Path) -> None:
    page = tmp_path / "pages" / "curve.html"
    store = f"file://{table_run.copy(tmp_path)}"
    options = ("--store", store, "--set", "fine_tuning.optimizer=adamw")
    done = cli.modelmill("lr-find", table_run.recipe, "-o", page, "--steps", "30", *options)
    assert done.returncode == 0, done.stderr
    heading, *rows, said, use, curve = done.stdout.splitlines()
    assert heading.split() == ["rate", "loss", "smoothed"] and 5 <= len(rows) <= 12
    suggested = re.match(r"Suggested learning rate: (\S+);", said)
    assert suggested is not None and curve == f"curve  {page}"
    assert use == (
        f"use    modelmill run {table_run.recipe} --set fine_tuning.optimizer=adamw --store {store} "
        f"--set fine_tuning.learning_rate={suggested.group(1)}"
    )
    text = page.read_text()
    assert text.lower().startswith("<!doctype html>") and "http-equiv" in text and "<svg" in text
    assert use.removeprefix("use    ") in text and "suggested" in text
    assert "fine_tuning: reused" not in done.stderr and "data_validation: reused" in done.stderr


def test_data_that_breaks_its_contract_leaves_a_run_that_says_so(tmp_path: Path) -> None:
    rule = {"type": "expect_column_values_to_be_between", "kwargs": {"column": "width", "max_value": 0}}
    recipe = table_recipe(tmp_path, write_table(tmp_path / "data"), {"name": "strict", "expectations": [rule]})
    store = tmp_path / "store"
    done = cli.modelmill("lr-find", recipe, "--store", f"file://{store}", "-o", tmp_path / "lr-find.html")
    assert done.returncode == 3
    assert "modelmill: data_validation: " in done.stderr and "Traceback" not in done.stderr
    opened = open_store(f"file://{store}")
    (run_id,) = run_records.run_ids(opened)
    assert f"again: modelmill lr-find {recipe}" in done.stderr
    assert b"max_value" in opened.get(run_records.report_key(run_id)) or b"width" in opened.get(
        run_records.report_key(run_id)
    )
    assert not (tmp_path / "lr-find.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--stage", "pretraining"), "--stage pretraining: the recipe leaves it out (none); take --stage fine_tuning"),
        (("--from", "1", "--to", "1"), "--from 1 --to 1: rates rise"),
        (("--from", "0"), "--from 0 --to 1: rates rise, from above 0"),
        (("--to", "nan"), "--to nan: rates rise"),
        (("--steps", "1"), "--steps 1: a curve takes at least 2"),
        (("-o", "data"), "--output data: cannot be written"),
    ],
)
def test_a_mistake_is_one_line_before_any_work(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    recipe = table_recipe(tmp_path, write_table(tmp_path / "data"))
    done = cli.modelmill("lr-find", recipe, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr and len(done.stderr.splitlines()) == 1
    assert done.stdout == "" and not (tmp_path / ".modelmill").exists() and not (tmp_path / "lr-find.html").exists()
