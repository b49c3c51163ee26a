"""A step reads its recipe from the store, and its key is made from the recipe's settings, never from the reference."""

import json
from pathlib import Path

import pytest

from modelmill.components.reporting import step as reporting
from modelmill.recipe import stored
from modelmill.runtime import run_records
from tests.component.past import RUN, Past
from tests.component.steps import Steps
from tests.recipes import table_recipe, write_table


@pytest.fixture
def steps(tmp_path: Path) -> Steps:
    return Steps(table_recipe(tmp_path / "recipe", write_table(tmp_path / "data")), tmp_path / "steps")


def test_a_recipe_with_the_same_settings_for_a_step_has_the_same_step(steps: Steps, tmp_path: Path) -> None:
    steps.corpus()
    first = steps.record("preprocessing")
    recipe = tmp_path / "recipe" / "tiny-table.yaml"
    other = Steps(recipe, tmp_path / "steps", "registration.model=another", "fine_tuning.steps=7")
    other.calls = steps.calls
    assert other.key != steps.key
    other.corpus()
    again = other.record("preprocessing")
    assert (again.status, again.key, again.outputs) == ("reused", first.key, first.outputs)


def test_a_step_whose_recipe_is_gone_or_damaged_says_so_in_its_record(steps: Steps) -> None:
    whole = steps.store.get(steps.key)
    steps.store.put(steps.key, whole + b" ")
    code, message = steps.fails("data_validation", ["dataset", "validation"])
    assert (code, message.count("\n")) == (1, 0)
    assert f"{steps.key}: does not have the bytes it is named after" in message
    steps.store.delete(steps.key)
    code, message = steps.fails("data_validation", ["dataset", "validation"])
    assert code == 2 and f"{steps.key}: the recipe is not there; modelmill run, submit and compile" in message
    assert run_records.read_run(steps.store, str(steps.calls)) is None
    steps.store.put(steps.key, whole)
    assert steps.call("data_validation", ["dataset", "validation"])


def test_a_run_that_kfp_starts_alone_is_recorded_with_the_whole_recipe(steps: Steps) -> None:
    steps.call("data_validation", ["dataset", "validation"])
    record = run_records.read_run(steps.store, str(steps.calls))
    assert record is not None and record.recipe == json.loads(steps.recipe)


def test_a_step_of_an_older_pipeline_takes_the_recipe_itself(steps: Steps) -> None:
    steps.key = steps.recipe
    dataset = steps.call("data_validation", ["dataset", "validation"])["dataset"]
    assert dataset.info["rows"] == 200


def test_a_report_without_the_recipe_has_what_the_runs_record_says(tmp_path: Path) -> None:
    past = Past(tmp_path)
    past.registered()
    gone = stored.key_of_json(json.dumps(past.recipe))
    reporting.run(recipe=gone, store=past.store.uri, run_id=RUN, report=str(tmp_path / "page.html"))
    assert "path: /data" in (tmp_path / "page.html").read_text("utf-8")
    outcome = run_records.read_outcome(past.store, RUN)
    assert outcome is not None and outcome["outcome"] == "registered"
