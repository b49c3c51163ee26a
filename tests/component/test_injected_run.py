"""Steps under KFP's MLflow integration, which makes a run for the pipeline and a nested one for each task, and sets
variables in the step: MLFLOW_RUN_ID, MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_ID and the credentials of its auth type.
"""

import base64
import logging
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from modelmill import recipe as recipes
from modelmill.runtime import tracking
from modelmill.store import open_store
from tests import receivers
from tests.component.steps import Steps
from tests.mlflow_server import MlflowServer
from tests.recipes import table_recipe, write_table

pytestmark = pytest.mark.usefixtures("default_registry")


@pytest.fixture
def steps(tmp_path: Path) -> Steps:
    return Steps(table_recipe(tmp_path / "recipe", write_table(tmp_path / "data")), tmp_path / "steps")


class Injected:
    """What KFP's API server and driver have made before a step starts."""

    def __init__(self, uri: str, name: str) -> None:
        self.client = MlflowClient(uri, uri)
        self.experiment = self.client.create_experiment(name)
        self.parent = self.client.create_run(self.experiment, run_name="pipeline").info.run_id
        tags = {"mlflow.parentRunId": self.parent}
        self.nested = self.client.create_run(self.experiment, run_name="data-validation", tags=tags).info.run_id

    def into(self, monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
        monkeypatch.setenv("MLFLOW_RUN_ID", self.nested)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", self.experiment)

    def run(self) -> Any:
        return self.client.get_run(self.nested)

    def everything(self) -> set[str]:
        experiments = [one.experiment_id for one in self.client.search_experiments()]
        return {one.info.run_id for one in self.client.search_runs(experiments, max_results=1000)}


def test_a_step_logs_into_the_injected_run_opens_no_other_and_leaves_its_end_to_kfp(
    steps: Steps, mlflow_server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    injected = Injected(mlflow_server.uri, f"kfp-{tmp_path.name}")
    before = injected.everything()
    injected.into(monkeypatch, mlflow_server.uri)
    steps.call("data_validation", ["dataset", "validation"])
    run = injected.run()
    assert injected.everything() == before
    assert run.data.metrics["rows"] == 200 and run.data.params["data.format"]
    assert run.info.status == "RUNNING" and injected.client.get_run(injected.parent).info.status == "RUNNING"
    # KFP ends the run of a try that failed, and the next try is given the same run.
    injected.client.set_terminated(injected.nested, "FAILED")
    recipe = recipes.from_json(steps.recipe)
    tracking.log_step(steps.store, "1", recipe, "data_validation", tracking.Logged({}, {"rows": 201.0}))
    again = injected.run()
    assert (again.info.status, again.data.metrics["rows"]) == ("FAILED", 201.0)
    assert injected.everything() == before


def test_without_an_injected_run_the_step_makes_a_parent_and_a_nested_one(
    steps: Steps, mlflow_server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    injected = Injected(mlflow_server.uri, f"kfp-{tmp_path.name}")
    before = injected.everything()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.uri)
    recipe = recipes.from_json(steps.recipe)
    tracking.log_step(steps.store, tmp_path.name, recipe, "data_validation", tracking.Logged({}, {"rows": 3.0}))
    made = [injected.client.get_run(run) for run in injected.everything() - before]
    nested, parent = sorted(made, key=lambda run: "mlflow.parentRunId" not in run.data.tags)
    assert len(made) == 2 and nested.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert not injected.run().data.metrics and nested.data.metrics == {"rows": 3.0}


@pytest.mark.parametrize(
    ("credentials", "header"),
    [
        ({"MLFLOW_TRACKING_TOKEN": "planted-token"}, "Bearer planted-token"),
        (
            {"MLFLOW_TRACKING_USERNAME": "mill", "MLFLOW_TRACKING_PASSWORD": "planted-word"},
            "Basic " + base64.b64encode(b"mill:planted-word").decode(),
        ),
    ],
)
def test_the_injected_credentials_are_used_and_never_logged(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    credentials: dict[str, str],
    header: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    recipe = recipes.load(table_recipe(tmp_path / "recipe", tmp_path / "data"))
    with receivers.posts(401) as server:
        for name, value in {"MLFLOW_TRACKING_URI": server.uri, "MLFLOW_RUN_ID": "a" * 32, **credentials}.items():
            monkeypatch.setenv(name, value)
        store = open_store(f"file://{tmp_path}/store")
        tracking.log_step(store, "r", recipe, "pretraining", tracking.Logged({"seed": 1}))
    assert server.paths == ["/api/2.0/mlflow/runs/log-batch"] and server.headers[0]["authorization"] == header
    assert "is not in MLflow, its result is kept" in caplog.text and "planted" not in caplog.text
