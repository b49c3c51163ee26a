"""`modelmill status`: runs that are lost, and tables that a narrow terminal can show."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from modelmill.pipelines.cluster import settings
from modelmill.pipelines.trigger.cluster_runs import ClusterRuns
from modelmill.runtime import run_records
from modelmill.runtime.run_records import StepRecord
from modelmill.store import Store, open_store
from tests import kfp_cluster
from tests.kfp_cluster import Done, cluster_recipe, write_cluster
from tests.kfp_server import KfpServer


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kfp_cluster.isolate(monkeypatch, tmp_path)


@pytest.fixture
def store(bucket: str) -> Store:
    return open_store(f"{bucket}/mill")


def submitted(kfp: KfpServer, call: Callable[..., Done], folder: Path, store: str) -> tuple[str, tuple[str, Path]]:
    cluster = ("--cluster", write_cluster(folder, kfp.url, store))
    done = call("submit", cluster_recipe(folder), *cluster, "--json", "--reason", "a " * 100)
    assert done.code == 0, done.err
    return json.loads(done.out)["run_id"], cluster


def lose(kfp: KfpServer, run_id: str, store: Store, hours: int = 2) -> None:
    """Take a run's Workflow away, hours ago: KFP goes on listing it, and nothing in the store has moved since."""
    kfp.workflows = [one for one in kfp.workflows if one.run_id != run_id]
    run = kfp.runs[run_id]
    run.state, run.created_at = "RUNNING", datetime.now(UTC) - timedelta(hours=hours)
    run_records.forget(store, run_id)


def states(call: Callable[..., Done], *cluster: Any) -> list[str]:
    return [one["state"] for one in json.loads(call("status", *cluster, "--json").out)["runs"]]


def test_a_run_whose_workflow_is_gone_is_lost_and_can_be_resumed(
    kfp: KfpServer, call: Callable[..., Done], store: Store, tmp_path: Path
) -> None:
    run_id, cluster = submitted(kfp, call, tmp_path, store.uri)
    lose(kfp, run_id, store)
    assert states(call, *cluster) == ["lost"]
    shown = call("status", run_id, *cluster)
    assert f"{run_id}  {kfp.runs[run_id].display_name}  lost\n" in shown.out
    assert "KFP says RUNNING, but nothing of it has moved for 120 minutes" in shown.out
    assert call("resume", run_id, *cluster).code == 0
    runs = ClusterRuns(settings.load(cluster[1]), store, cluster[1])
    assert runs.state_of(run_id) == "failed", "what a trigger asks for again is started again"


def test_a_run_is_not_lost_while_a_step_of_it_writes(
    kfp: KfpServer, call: Callable[..., Done], store: Store, tmp_path: Path
) -> None:
    run_id, cluster = submitted(kfp, call, tmp_path, store.uri)
    lose(kfp, run_id, store)
    store.put(run_records.step_log_key(run_id, "pretraining"), b"step 1\n")
    assert states(call, *cluster) == ["RUNNING"]
    assert "is running" in call("resume", run_id, *cluster).err
    assert ClusterRuns(settings.load(cluster[1]), store, cluster[1]).state_of(run_id) == "running"


def test_a_run_is_not_lost_while_kfp_sees_it_change(
    kfp: KfpServer, call: Callable[..., Done], store: Store, tmp_path: Path
) -> None:
    run_id, cluster = submitted(kfp, call, tmp_path, store.uri)
    lose(kfp, run_id, store)
    kfp.set_tasks(run_id, data_validation="RUNNING")
    assert states(call, *cluster) == ["RUNNING"]


def test_a_store_that_cannot_be_asked_leaves_a_run_as_kfp_has_it(
    kfp: KfpServer, call: Callable[..., Done], store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, cluster = submitted(kfp, call, tmp_path, store.uri)
    lose(kfp, run_id, store)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert states(call, *cluster) == ["RUNNING"]


@pytest.mark.parametrize("columns", [80, 100, 120, 200])
def test_a_row_is_a_line_in_every_terminal(
    kfp: KfpServer, call: Callable[..., Done], store: Store, tmp_path: Path, columns: int, monkeypatch: Any
) -> None:
    run_id, cluster = submitted(kfp, call, tmp_path, store.uri)
    kfp.end_run(run_id, "SUCCEEDED")
    second = json.loads(call("resume", run_id, *cluster, "--json").out)["run_id"]
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = call("status", *cluster).out.splitlines()
    assert [line.split()[0] for line in lines] == ["run", second, run_id]
    assert all(len(line) <= columns for line in lines)
    created = kfp.runs[run_id].created_at.strftime("%m-%d %H:%M")
    assert all(word in lines[2] for word in ("SUCCEEDED", created, "tiny-table"))
    assert ("Requested by" in lines[2]) == (columns >= 120)
    long = StepRecord(name="data_validation", status="ran", started=time.time(), headline="many words " * 30)
    run_records.write_step(store, run_id, long)
    table = call("status", run_id, *cluster).out.splitlines()[3:]
    assert [line.split()[0] for line in table[:3]] == ["step", "data_validation", "preprocessing"]
    assert all(len(line) <= columns for line in table[:7])
