"""`modelmill schedule apply` and the runs that a recurring run has started: they go on, on every version of KFP."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelmill.pipelines.cluster import applying, scheduling
from tests import kfp_cluster
from tests.kfp_cluster import Done, cluster_recipe, write_cluster
from tests.kfp_server import KfpServer

pytestmark = pytest.mark.usefixtures("reachable")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kfp_cluster.isolate(monkeypatch, tmp_path)
    monkeypatch.setattr(scheduling, "LISTING_SECONDS", 0.0)
    cluster_recipe(tmp_path)


@pytest.fixture
def cluster(kfp: KfpServer, tmp_path: Path) -> Path:
    return write_cluster(tmp_path, kfp.url)


def schedules(**changes: Any) -> Path:
    file = Path("schedules.yaml")
    schedule = {"name": "often", "recipe": "tiny-table.yaml", "cron": "@hourly", **changes}
    file.write_text(yaml.safe_dump({"schedules": [schedule]}))
    return file


def test_a_run_goes_on_when_its_schedule_is_replaced(kfp: KfpServer, call: Callable[..., Done], cluster: Path) -> None:
    call("schedule", "apply", schedules(), "--cluster", cluster)
    [first] = kfp.recurring_runs
    run_id = kfp.fire(first)
    done = call("schedule", "apply", schedules(overrides=["seed=2"]), "--cluster", cluster)
    assert done.code == 0, done.err
    assert re.findall(r"^ ?(create|delete)", done.out, re.M) == ["create", "delete"]
    assert first not in kfp.recurring_runs and len(kfp.recurring_runs) == 1
    assert [one.run_id for one in kfp.workflows] == [run_id]


@pytest.mark.parametrize("version", ["2.15.3", "unknown"])
def test_an_older_kfp_deletes_when_nothing_of_it_runs(
    kfp: KfpServer, call: Callable[..., Done], cluster: Path, version: str
) -> None:
    kfp.tag_name = version
    call("schedule", "apply", schedules(), "--cluster", cluster)
    [first] = kfp.recurring_runs
    run_id = kfp.fire(first)
    changed = schedules(overrides=["seed=2"])
    for _ in range(2):
        done = call("schedule", "apply", changed, "--cluster", cluster)
        assert done.code == 0, done.err
        assert "disable" in done.out and f"this KFP would end its run {run_id} with it" in " ".join(done.out.split())
        assert kfp.recurring_runs[first].status == "DISABLED"
        assert [one.run_id for one in kfp.workflows] == [run_id]
        assert len(kfp.recurring_runs) == 2
    kfp.end_run(run_id, "SUCCEEDED")
    assert "delete" in call("schedule", "apply", changed, "--cluster", cluster).out
    assert first not in kfp.recurring_runs
    assert call("schedule", "apply", changed, "--cluster", cluster).out == "nothing to change\n"


def test_a_run_that_has_no_state_yet_is_under_way(kfp: KfpServer, call: Callable[..., Done], cluster: Path) -> None:
    kfp.tag_name = "2.15.3"
    call("schedule", "apply", schedules(), "--cluster", cluster)
    [first] = kfp.recurring_runs
    kfp.runs[kfp.fire(first)].state = None
    call("schedule", "apply", schedules(overrides=["seed=2"]), "--cluster", cluster)
    assert first in kfp.recurring_runs


def test_a_recurring_run_is_stored_and_recognised_whatever_its_recipe_is_called(
    kfp: KfpServer, cluster: Path, tmp_path: Path
) -> None:
    recipe = (tmp_path / "tiny-table.yaml").rename(tmp_path / f"{'x' * 200}.yaml")
    file = schedules(recipe=recipe.name)
    assert len(applying.apply(file, cluster)) == 1
    [recurring] = kfp.recurring_runs.values()
    assert len(recurring.description) <= 255
    assert recurring.plugins_input == {"mlflow": {"disabled": True}}
    assert kfp.scheduled_workflows == set(kfp.recurring_runs)
    assert applying.apply(file, cluster) == []
