"""The KFP server of the tests answers as a real one: statuses, words, tasks, and what becomes of Workflows."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kfp_server_api as api
import pytest
import urllib3
import yaml

from modelmill.pipelines.cluster import applying
from tests import kfp_cluster
from tests.kfp_cluster import Done, cluster_recipe, write_cluster
from tests.kfp_server import KfpServer

pytestmark = pytest.mark.usefixtures("reachable")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kfp_cluster.isolate(monkeypatch, tmp_path)


@pytest.fixture
def runs(kfp: KfpServer) -> Iterator[api.RunServiceApi]:
    yield api.RunServiceApi(api.ApiClient(api.Configuration(host=kfp.url)))


def submitted(kfp: KfpServer, call: Callable[..., Done], folder: Path) -> api.V2beta1Run:
    assert call("submit", cluster_recipe(folder), "--cluster", write_cluster(folder, kfp.url)).code == 0
    return next(iter(kfp.runs.values()))


def refused(kfp: KfpServer, path: str, body: Any, **fields: Any) -> tuple[int, str]:
    encoded = {"fields": fields} if fields else {"body": json.dumps(body)}
    answer = urllib3.request("POST", f"{kfp.url}/apis/v2beta1/{path}", **encoded)
    document = answer.json()
    assert document["details"][0]["code"] == document["code"]
    return answer.status, document["message"]


def test_creates_that_are_refused(kfp: KfpServer, call: Callable[..., Done], tmp_path: Path) -> None:
    run = submitted(kfp, call, tmp_path)
    asked = api.ApiClient().sanitize_for_serialization(run)
    reference = asked["pipeline_version_reference"]
    before = len(kfp.workflows)
    status, said = refused(kfp, "runs", asked | {"description": "x" * 256})
    assert (status, len(kfp.workflows), len(kfp.runs)) == (500, before + 1, 1)
    assert said.endswith("Error 1406 (22001): Data too long for column 'Description' at row 1")
    nowhere = reference | {"pipeline_version_id": "0000"}
    status, said = refused(kfp, "runs", asked | {"pipeline_version_reference": nowhere})
    assert (status, said.endswith("PipelineVersion 0000 not found")) == (500, True)
    status, said = refused(kfp, "runs", asked | {"runtime_config": {"parameters": {"no_such": 1}}})
    assert (status, said.endswith("not required by pipeline: no_such")) == (400, True)
    recurring = {"trigger": {"cron_schedule": {"cron": "99 * * *"}}, "pipeline_version_reference": reference}
    status, said = refused(kfp, "recurringruns", recurring | {"experiment_id": run.experiment_id})
    assert (status, said.endswith("Expected 5 to 6 fields, found 4: 99 * * *")) == (400, True)


@pytest.mark.parametrize(
    "file", [b"", b"[1", b"just text", b"a: 1", b"pipelineInfo: {name: x}\nschemaVersion: 2.1.0\nroot: {dags: {}}"]
)
def test_a_file_that_is_no_pipeline_is_refused(
    kfp: KfpServer, call: Callable[..., Done], tmp_path: Path, file: bytes
) -> None:
    run = submitted(kfp, call, tmp_path)
    pipeline = run.pipeline_version_reference.pipeline_id
    path = f"pipelines/upload_version?name=other&pipelineid={pipeline}"
    status, said = refused(kfp, path, None, uploadfile=("pipeline.yaml", file))
    assert (status, len(kfp.versions)) == (400, 1)
    assert "Invalid input error" in said


def test_tasks_are_all_nodes_until_they_are_too_many(
    kfp: KfpServer, call: Callable[..., Done], tmp_path: Path, runs: api.RunServiceApi
) -> None:
    run_id = submitted(kfp, call, tmp_path).run_id
    kfp.set_tasks(run_id, data_validation="FAILED", preprocessing="RUNNING")
    tasks = runs.run_service_get_run(run_id).run_details.task_details
    names = Counter(task.display_name for task in tasks)
    assert {"root", "exit-handler-1", "data-validation", "data-validation(0)", "data-validation-driver"} < set(names)
    assert names["executor"] == names["executor(0)"] == 2
    assert all(task.error is None for task in tasks)
    assert {task.end_time.year == 1 for task in tasks if task.state == "RUNNING"} == {True}
    kfp.node_bytes = 70_000
    kfp.set_tasks(run_id, data_validation="SUCCEEDED", preprocessing="SUCCEEDED")
    states = {task.display_name: task.state for task in runs.run_service_get_run(run_id).run_details.task_details}
    assert states["preprocessing"] == "RUNNING"


@pytest.mark.parametrize(
    ("version", "policy", "left"), [("2.17.0", None, 0), ("2.17.0", "ORPHAN", 1), ("2.15.0", "ORPHAN", 0)]
)
def test_deleting_a_recurring_run_ends_its_runs_unless_they_are_orphaned(
    kfp: KfpServer, tmp_path: Path, version: str, policy: str | None, left: int
) -> None:
    kfp.tag_name = version
    schedule = {"name": "often", "recipe": cluster_recipe(tmp_path).name, "cron": "@hourly"}
    (tmp_path / "schedules.yaml").write_text(yaml.safe_dump({"schedules": [schedule]}))
    applying.apply(tmp_path / "schedules.yaml", write_cluster(tmp_path, kfp.url))
    [recurring] = kfp.recurring_runs
    run_id = kfp.fire(recurring)
    query = f"?propagation_policy={policy}" if policy else ""
    assert urllib3.request("DELETE", f"{kfp.url}/apis/v2beta1/recurringruns/{recurring}{query}").status == 200
    assert len(kfp.workflows) == left
    assert kfp.runs[run_id].state == "RUNNING", "whatever became of it"
