"""What a step leaves of itself in the store, beside its record: its log, and what run it was part of."""

import json
import logging
from pathlib import Path

import pytest

from modelmill.runtime import run_records
from tests.component.steps import Steps
from tests.recipes import table_recipe, write_table


@pytest.fixture
def steps(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Steps:
    caplog.set_level(logging.INFO)
    return Steps(table_recipe(tmp_path / "recipe", write_table(tmp_path / "data")), tmp_path / "steps")


def log_of(steps: Steps, step: str) -> str:
    return steps.store.get(run_records.step_log_key(str(steps.calls), step)).decode()


def test_a_step_that_runs_and_one_that_is_reused_keep_their_logs(steps: Steps) -> None:
    for status in ("ran", "reused"):
        steps.call("data_validation", ["dataset", "validation"])
        last = log_of(steps, "data_validation").splitlines()[-1]
        assert f"data_validation {status} in" in last and steps.record("data_validation").headline in last


def test_a_step_that_fails_says_why_in_its_log(steps: Steps) -> None:
    dataset = steps.call("data_validation", ["dataset", "validation"])["validation"]
    code, message = steps.fails("preprocessing", ["corpus"], dataset=dataset)
    log = log_of(steps, "preprocessing")
    assert code and f"ERROR preprocessing: {message}" in log


def test_a_run_that_nobody_of_ours_started_is_recorded_by_its_first_step(steps: Steps) -> None:
    dataset = steps.call("data_validation", ["dataset", "validation"])["dataset"]
    run = run_records.read_run(steps.store, "1")
    assert run is not None and run.recipe == json.loads(steps.recipe)
    assert (run.run_id, run.store, run.resume) == ("1", steps.store.uri, "modelmill resume 1")
    assert run.started == steps.record("data_validation").started
    given = run.model_copy(update={"run_id": "2", "resume": "modelmill run recipe.yaml"})
    run_records.write_run(steps.store, given)
    steps.call("preprocessing", ["corpus"], dataset=dataset)
    assert run_records.read_run(steps.store, "2") == given, "who started a run has recorded it better"
