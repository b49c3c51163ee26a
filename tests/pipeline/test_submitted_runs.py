"""`modelmill status | logs | resume | cancel | submit --wait | doctor --cluster`: runs that a cluster has."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelmill.pipelines.cluster import client as clients
from modelmill.pipelines.cluster import waiting
from modelmill.recipe import stored
from modelmill.runtime import run_records
from modelmill.runtime.run_records import StepRecord
from modelmill.store import Store, open_store
from tests import kfp_cluster
from tests.kfp_cluster import Done, cluster_recipe, write_cluster
from tests.kfp_server import KfpServer, Request

STEPS = ("data_validation", "preprocessing", "pretraining", "fine_tuning", "evaluation", "registration")
REGISTERED = dict.fromkeys(STEPS, "SUCCEEDED")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kfp_cluster.isolate(monkeypatch, tmp_path)
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0.05)


@pytest.fixture
def store(bucket: str) -> Store:
    """A store that can be reached from here."""
    return open_store(f"{bucket}/mill")


def submitted(kfp: KfpServer, call: Callable[..., Done], folder: Path, store: str) -> Any:
    """A run, and the options that name its cluster."""
    cluster = ("--cluster", write_cluster(folder, kfp.url, store))
    done = call("submit", cluster_recipe(folder), *cluster, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)["run_id"], cluster


def when_asked_again(kfp: KfpServer, end: Callable[[str], None]) -> None:
    """Let a run end once it has been looked at twice."""
    looks: list[str] = []

    def before(request: Request) -> None:
        run_id = request.path.rpartition("/")[2]
        if request.method == "GET" and run_id in kfp.runs:
            looks.append(run_id)
            if len(looks) == 2:
                end(run_id)

    kfp.before = before


@pytest.mark.parametrize(
    ("state", "tasks", "code", "said"),
    [
        ("SUCCEEDED", REGISTERED, 0, ""),
        (
            "SUCCEEDED",
            {**REGISTERED, "registration": "SKIPPED"},
            1,
            "run: KFP says SUCCEEDED, but whether the model was",
        ),
        ("FAILED", {"data_validation": "SUCCEEDED", "preprocessing": "FAILED"}, 1, "preprocessing: KFP says FAILED"),
        ("CANCELED", {"data_validation": "SUCCEEDED"}, 4, "run: cancelled; the store does not say by whom"),
    ],
)
def test_wait_ends_as_the_run_does_where_only_kfp_can_be_asked(
    kfp: KfpServer,
    call: Callable[..., Done],
    bucket: str,
    tmp_path: Path,
    state: str,
    tasks: dict[str, str],
    code: int,
    said: str,
) -> None:
    def end(run_id: str) -> None:
        kfp.set_tasks(run_id, **tasks)
        kfp.end_run(run_id, state)

    when_asked_again(kfp, end)
    kfp.fail("GET", "/runs/", 503, times=clients.TRIES + 2)
    cluster = write_cluster(tmp_path, kfp.url, bucket)
    done = call("submit", cluster_recipe(tmp_path), "--cluster", cluster, "--wait")
    assert done.code == code, done.err
    assert said in done.err
    assert "data_validation: ran in" in done.err, "progress is in lines where there is no terminal"
    assert ("again: modelmill resume" in done.err) == (code != 0)
    assert "Traceback" not in done.err
    assert kfp.failures == [], "a server that was away for a while has not ended it"


def test_wait_shows_what_the_store_has_and_ends_as_the_outcome_says(
    kfp: KfpServer, call: Callable[..., Done], store: Store, tmp_path: Path
) -> None:
    def end(run_id: str) -> None:
        run_records.write_step(
            store, run_id, StepRecord(name="data_validation", status="ran", started=time.time(), headline="9 shards")
        )
        outcome = {"outcome": "gate failed", "exit_code": 3, "failed_step": "evaluation", "reason": "accuracy is low"}
        run_records.write_outcome(store, run_id, outcome)
        kfp.end_run(run_id, "SUCCEEDED")

    when_asked_again(kfp, end)
    cluster = write_cluster(tmp_path, kfp.url, store.uri)
    done = call("submit", cluster_recipe(tmp_path), "--cluster", cluster, "--wait", "--json")
    shown = json.loads(done.out)
    assert done.code == shown["exit_code"] == 3
    assert "data_validation: ran in 0.0 s: 9 shards" in done.err
    assert "evaluation: accuracy is low" in done.err
    assert [step["headline"] for step in shown["steps"]] == ["9 shards"]


def test_status_lists_the_newest_over_pages_and_shows_one(
    kfp: KfpServer, call: Callable[..., Done], bucket: str, tmp_path: Path
) -> None:
    run_id, cluster = submitted(kfp, call, tmp_path, bucket)
    kfp.set_tasks(run_id, data_validation="SUCCEEDED", preprocessing="RUNNING")
    assert "preprocessing    running" in " ".join(call("status", run_id, *cluster).out.split("\n"))
    kfp.set_tasks(run_id, data_validation="SUCCEEDED", preprocessing="FAILED")
    kfp.end_run(run_id, "FAILED")
    again = [json.loads(call("resume", run_id, *cluster, "--json").out)["run_id"] for _ in range(3)]
    kfp.page_size = 2
    listed = json.loads(call("status", *cluster, "--json").out)["runs"]
    assert [one["run_id"] for one in listed] == [*reversed(again), run_id]
    assert listed[-1]["state"] == "FAILED"
    fewer = json.loads(call("status", *cluster, "--most", "3", "--json").out)["runs"]
    assert [one["run_id"] for one in fewer] == list(reversed(again))
    assert all(one in call("status", *cluster).out for one in again)
    one = call("status", run_id, *cluster)
    rows = {line.split()[0]: line.split()[1] for line in one.out.splitlines() if len(line.split()) > 1}
    assert (rows["data_validation"], rows["preprocessing"], rows["evaluation"]) == ("ran", "failed", "not")
    assert f"https://kfp.example.com/#/runs/details/{run_id}" in one.out
    assert "preprocessing: KFP says FAILED" in one.out


def test_resume_starts_the_same_version_with_the_same_parameters(
    kfp: KfpServer, call: Callable[..., Done], store: Store, tmp_path: Path
) -> None:
    run_id, cluster = submitted(kfp, call, tmp_path, store.uri)
    going_on = call("resume", run_id, *cluster)
    assert going_on.code == 2
    assert "is pending" in going_on.err
    key = kfp.runs[run_id].runtime_config.parameters["recipe"]
    kfp.runs[run_id].runtime_config.parameters = {"recipe": key, "store": "s3://other/mill"}
    kfp.end_run(run_id, "FAILED")
    store.delete(key)
    done = call("resume", run_id, *cluster)
    assert done.code == 0, done.err
    assert done.out.startswith(f"resumes {run_id}\n")
    [new] = [one for one in kfp.runs.values() if one.run_id != run_id]
    assert new.pipeline_version_reference == kfp.runs[run_id].pipeline_version_reference
    assert new.runtime_config.parameters == {"recipe": key, "store": "s3://other/mill"}
    assert stored.read(store, key), "a recipe that is gone is written again, as the run's record has it"
    assert new.description.endswith(f": resumes {run_id}")
    record = run_records.read_run(store, new.run_id)
    assert record is not None and record.recipe["name"] == "tiny-table"
    assert len(kfp.versions) == 1


def test_resume_of_a_run_from_before_recipes_were_in_the_store_starts_its_version(
    kfp: KfpServer, call: Callable[..., Done], bucket: str, tmp_path: Path
) -> None:
    """Such a version holds the recipe as the parameter's default, which a step takes, too."""
    run_id, cluster = submitted(kfp, call, tmp_path, bucket)
    (version,) = kfp.files
    spec, *platform = yaml.safe_load_all(kfp.files[version])
    spec["root"]["inputDefinitions"]["parameters"]["recipe"]["defaultValue"] = '{"name": "tiny-table"}'
    kfp.files[version] = yaml.safe_dump_all([spec, *platform]).encode()
    kfp.runs[run_id].runtime_config.parameters = {}
    kfp.end_run(run_id, "FAILED")
    assert call("resume", run_id, *cluster).code == 0
    (new,) = [one for one in kfp.runs.values() if one.run_id != run_id]
    assert new.runtime_config.parameters in ({}, None)


def test_logs_are_those_in_the_store(kfp: KfpServer, call: Callable[..., Done], store: Store, tmp_path: Path) -> None:
    run_id, cluster = submitted(kfp, call, tmp_path, store.uri)
    nothing = call("logs", run_id, *cluster)
    assert nothing.code == 2
    assert "the store has none and KFP has no error" in nothing.err
    store.put(f"runs/{run_id}/logs/pretraining.txt", b"step 1\n\x1b[31mstep 2\n")
    store.put(f"runs/{run_id}/logs/data_validation.txt", b"scanned\n")
    assert (
        call("logs", run_id, *cluster).out == "== data_validation\nscanned\n== pretraining\nstep 1\n\\x1b[31mstep 2\n"
    )
    assert call("logs", run_id, "--step", "data-validation", *cluster).out == "scanned\n"
    missing = call("logs", run_id, "--step", "evaluation", *cluster)
    assert missing.code == 2
    assert "no log of evaluation yet: there are those of data_validation, pretraining" in missing.err


@pytest.mark.parametrize("command", ["status", "logs", "resume", "cancel"])
def test_a_run_that_is_not_there_is_one_line(
    kfp: KfpServer, call: Callable[..., Done], tmp_path: Path, command: str
) -> None:
    done = call(command, "yesterday", "--cluster", write_cluster(tmp_path, kfp.url))
    assert (done.code, done.err) == (
        2,
        "modelmill: yesterday: no such run on this cluster; modelmill status lists them\n",
    )


def doctor(call: Callable[..., Done], *arguments: str | Path) -> tuple[int, dict[str, dict[str, Any]]]:
    done = call("doctor", *arguments, "--json")
    return done.code, {finding["name"]: finding for finding in json.loads(done.out)["findings"]}


def test_doctor_checks_a_cluster_one_by_one(
    kfp: KfpServer, call: Callable[..., Done], bucket: str, tmp_path: Path
) -> None:
    recipe, cluster = cluster_recipe(tmp_path), write_cluster(tmp_path, kfp.url, bucket)
    code, healthy = doctor(call, recipe, "--cluster", cluster)
    assert code == 0, healthy
    names = ["file", "profiles", "images", "token", "kfp", "version", "namespace", "kubernetes", "store", "buckets"]
    assert list(healthy) == [*names, "mlflow", "recipe"]
    assert healthy["version"]["message"] == "2.17.0"
    assert "conditional writes hold" in healthy["store"]["message"]
    assert not kfp.runs and not kfp.pipelines and not kfp.experiments, "a doctor changes nothing"
    code, findings = doctor(call, recipe, "--cluster", write_cluster(tmp_path, kfp.url))
    assert [name for name, finding in findings.items() if not finding["ok"]] == ["store", "buckets"]
    assert "write recipes there, and cannot from here" in findings["store"]["message"]


def test_doctor_names_each_thing_that_is_wrong(
    kfp: KfpServer, call: Callable[..., Done], store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, cluster = cluster_recipe(tmp_path), write_cluster(tmp_path, kfp.url, "s3://no-such-bucket/mill")
    settings = cluster.read_text().replace("http://mlflow.mill:5000", kfp.url)
    cluster.write_text(settings.replace("images:\n", "images:\n  pinned: true\n"))
    kfp.tag_name = "2.3.0"
    code, findings = doctor(call, recipe, "--cluster", cluster)
    bad = [name for name, finding in findings.items() if not finding["ok"]]
    assert code == 2
    assert bad == ["images", "version", "namespace", "store", "buckets", "mlflow", "recipe"], findings
    kfp.tag_name, kfp.token = "2.17.0", "fresh"
    monkeypatch.setenv("MODELMILL_KFP_TOKEN", "stale-token")
    _, findings = doctor(call, "--cluster", cluster)
    assert "expired" in findings["kfp"]["message"]
    assert not findings["namespace"]["ok"]
    assert "stale-token" not in str(findings)
    code, findings = doctor(call, "--cluster", tmp_path / "gone.yaml")
    assert (code, list(findings)) == (2, ["file"])
