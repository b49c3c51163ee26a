"""What a step leaves of itself in the store, beside its record: its log."""

import logging
from pathlib import Path

import pytest

from components.common import runs
from tests.component.steps import Steps
from tests.recipes import table_recipe, write_table


@pytest.fixture
def steps(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Steps:
    caplog.set_level(logging.INFO)
    return Steps(table_recipe(tmp_path / "recipe", write_table(tmp_path / "data")), tmp_path / "steps")


def log_of(steps: Steps, step: str) -> str:
    return steps.store.get(runs.step_log_key(str(steps.calls), step)).decode()


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
