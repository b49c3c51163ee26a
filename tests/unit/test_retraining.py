"""When a run that trains only for a reason has one."""

import json
from pathlib import Path
from typing import Any

import pytest

from modelmill import recipe as recipes
from modelmill.components.reporting import step as reporting
from modelmill.recipe import stored
from modelmill.recipe.step_specs import STEPS
from modelmill.runtime import memo, retraining, run_records
from modelmill.runtime.memo import Finished
from modelmill.runtime.run_records import Problem, StepRecord
from modelmill.store import Store
from tests.recipes import table_recipe, write_table

DATA = "d" * 64


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    return recipes.to_json(recipes.load(table_recipe(tmp_path, write_table(tmp_path / "data"))))


def ended(store: Store, recipe: str, run_id: str, folder: Path, **last: Any) -> str:
    """A run whose steps have run on DATA, the last of them with a problem if one is given; its outcome."""
    document = {"step": "data_validation", "code": {}, "settings": {}, "inputs": {"source.data": DATA}}
    finished = Finished(document=document, outputs={}, values={}, metrics={}, headline="", seconds=0)
    memo.commit(store, finished)
    for name in STEPS:
        record = StepRecord(name=name, status="ran", key=memo.key_of(document) if name == "data_validation" else "")
        if name == "evaluation" and last:
            record = StepRecord(name=name, status="failed", problem=Problem(message="it is so", **last))
        run_records.write_step(store, run_id, record)
    key = stored.write_json(store, recipe)
    reporting.run(recipe=key, store=store.uri, run_id=run_id, report=str(folder / "report.html"))
    return str((run_records.read_outcome(store, run_id) or {})["outcome"])


def test_a_run_that_a_gate_refused_is_not_repeated_until_something_changes(
    store: Store, recipe: str, tmp_path: Path
) -> None:
    assert retraining.look(recipe, store, "a", DATA) == (True, "the first run of this recipe")
    assert ended(store, recipe, "a", tmp_path, kind="gate", exit_code=3) == "gate failed"
    assert retraining.look(recipe, store, "b", DATA) == (False, "nothing has changed since run a")
    assert retraining.nothing_to_do(store, "b") == "nothing has changed since run a"
    assert retraining.look(recipe, store, "c", "e" * 64) == (True, "changed: data since run a")
    another = json.dumps(json.loads(recipe) | {"seed": 2})
    assert retraining.look(another, store, "d", DATA) == (True, "changed: recipe since run a")
    assert retraining.nothing_to_do(store, "d") is None


def test_a_run_that_failed_is_gone_on_with(store: Store, recipe: str, tmp_path: Path) -> None:
    assert ended(store, recipe, "a", tmp_path, kind="failed", exit_code=1) == "failed"
    assert retraining.look(recipe, store, "b", DATA).train


def test_without_a_registered_model_any_data_is_a_reason(store: Store, recipe: str) -> None:
    by_drift = json.loads(recipe)
    by_drift["data"]["retrain"] = "drift"
    for_any, for_drift = recipes.from_json(recipe), recipes.from_json(json.dumps(by_drift))
    assert all(retraining.decide(for_any, store, "a", drifted) for drifted in (None, True, False))
    assert [retraining.decide(for_drift, store, "a", drifted) for drifted in (None, True, False)] == [True, True, False]
