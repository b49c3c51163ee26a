"""`modelmill doctor --cluster` looks at schedules.yaml too: its lines, its recipes, and what the cluster has of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelmill.pipelines.cluster import applying
from tests import kfp_cluster
from tests.kfp_cluster import Done, cluster_recipe, write_cluster
from tests.kfp_server import KfpServer


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kfp_cluster.isolate(monkeypatch, tmp_path)


def write_schedules(**changes: Any) -> Path:
    file = Path("schedules.yaml")
    schedule = {"name": "nightly", "recipe": "tiny-table.yaml", "cron": "@daily", **changes}
    file.write_text(yaml.safe_dump({"schedules": [schedule]}))
    return file


def found(call: Callable[..., Done], cluster: Path) -> dict[str, Any]:
    done = call("doctor", "--cluster", cluster, "--json")
    findings = {finding["name"]: finding for finding in json.loads(done.out)["findings"]}
    assert done.code == (0 if all(finding["ok"] for finding in findings.values()) else 2)
    return dict(findings["schedules"])


def test_what_the_cluster_has_otherwise_is_said(
    kfp: KfpServer, call: Callable[..., Done], bucket: str, tmp_path: Path
) -> None:
    cluster_recipe(tmp_path)
    cluster, file = write_cluster(tmp_path, kfp.url, bucket), write_schedules()
    before = found(call, cluster)
    assert before["ok"] and "the cluster differs: create nightly; modelmill schedule apply" in before["message"]
    assert not kfp.recurring_runs and not kfp.pipelines, "a doctor changes nothing"
    applying.apply(file, cluster)
    assert found(call, cluster)["message"] == "schedules.yaml: 1 schedule is well, and the cluster agrees"
    write_schedules(enabled=False)
    assert "the cluster differs: disable nightly" in found(call, cluster)["message"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cron": "61 * * * *"}, "schedules.0 (nightly): cron"),
        ({"recipe": "gone.yaml"}, "nightly: "),
        ({"overrides": ["fine_tuning.stepz=3"]}, "did you mean 'steps'?"),
        ({"overrides": ["data.path=here"]}, "here is on this machine; a cluster reads s3:"),
    ],
)
def test_a_mistake_is_one_line_also_where_kfp_does_not_answer(
    call: Callable[..., Done], tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    cluster_recipe(tmp_path)
    cluster = write_cluster(tmp_path, "http://127.0.0.1:1")
    write_schedules(**changes)
    finding = found(call, cluster)
    assert not finding["ok"] and said in finding["message"] and "\n" not in finding["message"]


def test_without_the_file_there_is_nothing_to_say(
    kfp: KfpServer, call: Callable[..., Done], bucket: str, tmp_path: Path
) -> None:
    done = call("doctor", "--cluster", write_cluster(tmp_path, kfp.url, bucket), "--json")
    assert done.code == 0 and "schedules" not in [finding["name"] for finding in json.loads(done.out)["findings"]]
