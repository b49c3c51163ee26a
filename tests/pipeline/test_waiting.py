"""`submit --wait` while KFP or the store is away, frozen or not yet reachable: the wait goes on as the run does."""

import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from modelmill.pipelines.cluster import client as clients
from modelmill.pipelines.cluster import settings, waiting
from modelmill.runtime import run_records
from modelmill.runtime.run_records import Status, StepRecord
from modelmill.store import Store, open_store
from tests import kfp_cluster
from tests.kfp_cluster import Done, cluster_recipe, write_cluster
from tests.kfp_server import KfpServer, Request
from tests.seaweedfs import SeaweedFS

pytestmark = pytest.mark.usefixtures("reachable")

STEPS = ("data_validation", "preprocessing", "pretraining", "fine_tuning", "evaluation", "registration")
REGISTERED = {"outcome": "registered", "exit_code": 0}
CLOSED = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kfp_cluster.isolate(monkeypatch, tmp_path)
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(waiting, "STORE_SECONDS", 0.0)


@pytest.fixture
def store(bucket: str) -> Store:
    return open_store(f"{bucket}/mill")


@pytest.fixture
def wait(kfp: KfpServer, call: Callable[..., Done], tmp_path: Path) -> Callable[..., Done]:
    """Submits a recipe and waits for its run; `at` says what happens when KFP is asked for the n-th time.

    The 0th time is when the run is created.
    """

    def submit(at: dict[int, Callable[[str], Any]], *more: str, store: str | None = None, **changes: Any) -> Done:
        looks: list[str] = []

        def before(request: Request) -> None:
            run_id = request.path.rpartition("/")[2]
            if request.method == "POST" and run_id == "runs":
                at.get(0, lambda run_id: None)(run_id)
            if request.method == "GET" and run_id in kfp.runs:
                looks.append(run_id)
                at.get(len(looks), lambda run_id: None)(run_id)

        kfp.before = before
        cluster = write_cluster(tmp_path, kfp.url, store, **changes)
        return call("submit", cluster_recipe(tmp_path), "--cluster", cluster, "--wait", *more)

    return submit


def record(store: Store, run_id: str, status: Status, *steps: str) -> None:
    for step in steps:
        run_records.write_step(
            store, run_id, StepRecord(name=step, status=status, started=time.time(), headline="well")
        )


def ends_registered(kfp: KfpServer, store: Store) -> Callable[[str], None]:
    def end(run_id: str) -> None:
        record(store, run_id, "ran", *STEPS)
        run_records.write_outcome(store, run_id, REGISTERED)
        kfp.end_run(run_id, "SUCCEEDED")

    return end


def test_a_kfp_that_is_away_for_long_is_told_once_and_ends_no_wait(
    kfp: KfpServer, wait: Callable[..., Done], store: Store
) -> None:
    away = {2: lambda run_id: kfp.fail("GET", "/", 503, times=40)}
    done = wait(away | {60: ends_registered(kfp, store)}, store=store.uri)
    assert done.code == 0, done.err
    assert kfp.failures == []
    assert done.err.count("KFP cannot be seen") == done.err.count("KFP is seen again") == 1
    assert "answered 503" in done.err
    assert "the store" not in done.err


def test_a_kfp_that_cannot_be_connected_to_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    polls = iter([None] * 3)
    monkeypatch.setattr(waiting.time, "sleep", lambda seconds: next(polls) if seconds == waiting.POLL_SECONDS else None)
    cluster = settings.load(write_cluster(tmp_path, CLOSED))
    with pytest.raises(StopIteration):
        waiting.Wait(cluster, "r1", said.append, lambda: "away").to_the_end(lambda records: None)
    assert len(said) == 1
    assert "does not answer" in said[0] and "Connection refused" in said[0]


def test_a_store_that_is_away_is_told_once_and_ends_no_wait(
    kfp: KfpServer, wait: Callable[..., Done], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = os.environ["AWS_ENDPOINT_URL"]

    def goes(run_id: str) -> None:
        record(store, run_id, "ran", "data_validation", "preprocessing")
        kfp.set_tasks(run_id, data_validation="RUNNING")
        monkeypatch.setenv("AWS_ENDPOINT_URL", CLOSED)

    done = wait(
        {2: lambda run_id: record(store, run_id, "ran", "data_validation")}
        | {
            4: goes,
            10: lambda run_id: monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint),
            12: ends_registered(kfp, store),
        },
        store=store.uri,
    )
    assert done.code == 0, done.err
    assert done.err.count("the store cannot be seen") == done.err.count("the store is seen again") == 1
    assert "data_validation: running" not in done.err, "KFP's tasks are no better than the records of the last look"
    assert "KFP cannot" not in done.err


def test_a_store_that_answers_with_errors_ends_no_wait(
    kfp: KfpServer, wait: Callable[..., Done], store: Store, seaweedfs: SeaweedFS
) -> None:
    name = urlsplit(store.uri).netloc

    def drop(run_id: str) -> None:
        for key in list(store.list("")):
            store.delete(key)
        seaweedfs.client().delete_bucket(Bucket=name)

    back = {9: lambda run_id: seaweedfs.create_bucket(name), 12: ends_registered(kfp, store)}
    done = wait({4: drop, **back}, store=store.uri)
    assert done.code == 0, done.err
    assert done.err.count("the store cannot be seen") == done.err.count("the store is seen again") == 1


def test_a_store_that_is_away_at_the_end_is_waited_for(
    kfp: KfpServer, wait: Callable[..., Done], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    slept: list[float] = []
    sleep = time.sleep

    def count(seconds: float) -> None:
        """Let the store come back some polls after the run's end."""
        slept.append(seconds)
        if "ended" in ended and len(slept) > 8:
            monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        sleep(min(seconds, 0.05))

    ended: list[str] = []

    def end(run_id: str) -> None:
        ends_registered(kfp, store)(run_id)
        monkeypatch.setenv("AWS_ENDPOINT_URL", CLOSED)
        slept.clear()
        ended.append("ended")

    monkeypatch.setattr(waiting.time, "sleep", count)
    done = wait({3: end}, "--json", store=store.uri)
    assert (done.code, json.loads(done.out)["outcome"]) == (0, "registered"), done.err
    assert done.err.count("the store cannot be seen") == 1


def test_a_record_that_could_not_be_written_is_written_while_it_waits(
    kfp: KfpServer, wait: Callable[..., Done], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    away = {0: lambda run_id: monkeypatch.setenv("AWS_ENDPOINT_URL", CLOSED)}
    back = {4: lambda run_id: monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint), 8: ends_registered(kfp, store)}
    done = wait(away | back, "--reason", "new data", store=store.uri)
    assert done.code == 0, done.err
    assert done.err.count("the run's record was not written") == done.err.count("the run's record is written now") == 1
    kept = run_records.read_run(store, next(iter(kfp.runs)))
    assert kept is not None and kept.reason == "new data"
    assert "fine_tuning: ran" in done.err, "the steps' records are shown once the store is there"


def test_tasks_that_kfp_no_longer_updates_are_no_better_than_the_records(
    kfp: KfpServer, wait: Callable[..., Done], store: Store
) -> None:
    kfp.node_bytes = 32_000
    done_by_kfp = dict.fromkeys(STEPS[:2], "SUCCEEDED")

    def train(run_id: str) -> None:
        kfp.set_tasks(run_id, **done_by_kfp, pretraining="RUNNING")
        record(store, run_id, "ran", *STEPS[:3])
        record(store, run_id, "running", "fine_tuning")

    def end(run_id: str) -> None:
        kfp.set_tasks(run_id, **dict.fromkeys(STEPS, "SUCCEEDED"))
        ends_registered(kfp, store)(run_id)

    done = wait({2: train, 6: end}, store=store.uri)
    assert done.code == 0, done.err
    assert "pretraining: running" not in done.err
    assert "fine_tuning: running" in done.err
    assert "not run" not in done.out
    [run] = kfp.runs.values()
    assert {task.display_name: task.state for task in run.run_details.task_details}["pretraining"] == "RUNNING"


def test_a_run_that_is_lost_is_told_once_and_ends_no_wait(
    kfp: KfpServer, wait: Callable[..., Done], store: Store
) -> None:
    def lose(run_id: str) -> None:
        kfp.runs[run_id].state, kfp.runs[run_id].created_at = "RUNNING", datetime.now(UTC) - timedelta(hours=2)
        run_records.forget(store, run_id)

    done = wait({3: lose, 9: ends_registered(kfp, store)}, store=store.uri)
    assert done.code == 0, done.err
    assert done.err.count("lost: KFP says RUNNING, but nothing of it has moved for 120 minutes") == 1


def test_success_without_evidence_is_an_unknown_outcome(
    kfp: KfpServer, wait: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    kfp.node_bytes = 32_000
    monkeypatch.setattr(waiting, "OUTCOME_SECONDS", 0.2)

    def end(run_id: str) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", CLOSED)
        kfp.set_tasks(run_id, data_validation="SUCCEEDED", preprocessing="SUCCEEDED", pretraining="RUNNING")
        kfp.set_tasks(run_id, **dict.fromkeys(STEPS, "SUCCEEDED"))
        kfp.end_run(run_id, "SUCCEEDED")

    done = wait({2: end}, "--json")
    shown = json.loads(done.out)
    assert (done.code, shown["outcome"]) == (1, "succeeded, outcome unknown")
    assert shown["failed_step"] is None
    states = {step["name"]: step["status"] for step in shown["steps"]}
    assert states == {"data_validation": "ran", "preprocessing": "ran"} | dict.fromkeys(STEPS[2:], "unknown")


def test_a_registration_in_the_store_is_one_without_an_outcome_too(
    kfp: KfpServer, wait: Callable[..., Done], store: Store
) -> None:
    def end(run_id: str) -> None:
        kfp.set_tasks(run_id, data_validation="SUCCEEDED", preprocessing="RUNNING")
        record(store, run_id, "ran", *STEPS)
        kfp.end_run(run_id, "SUCCEEDED")

    done = wait({2: end}, "--json", store=store.uri)
    assert (done.code, json.loads(done.out)["outcome"]) == (0, "registered"), done.err


def test_a_run_that_fails_without_an_outcome_has_failed_in_the_step_of_its_record(
    kfp: KfpServer, wait: Callable[..., Done], store: Store
) -> None:
    def end(run_id: str) -> None:
        record(store, run_id, "ran", *STEPS[:2])
        record(store, run_id, "running", "pretraining")
        kfp.end_run(run_id, "FAILED")

    done = wait({2: end}, "--json", store=store.uri)
    shown = json.loads(done.out)
    assert (done.code, shown["outcome"], shown["failed_step"]) == (1, "failed", "pretraining")


def test_a_token_that_was_renewed_in_its_file_goes_on(
    kfp: KfpServer, wait: Callable[..., Done], store: Store, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("first")
    kfp.token = "first"

    def renew(run_id: str) -> None:
        token.write_text("second")
        kfp.token = "second"

    done = wait({3: renew, 6: ends_registered(kfp, store)}, store=store.uri, token_file=str(token))
    assert done.code == 0, done.err
    assert "cannot be seen" not in done.err


def test_a_token_that_is_refused_ends_the_wait_and_says_that_the_run_goes_on(
    kfp: KfpServer, wait: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(clients.TOKEN_VARIABLE, "first-token")
    kfp.token = "first-token"
    done = wait({3: lambda run_id: setattr(kfp, "token", "second")})
    assert done.code == 2
    assert done.err.splitlines()[-1].endswith(
        "(401); set MODELMILL_KFP_TOKEN or kfp.token_file to a new one; the run goes on"
    )
    assert "first-token" not in done.err


def test_a_run_that_was_deleted_ends_the_wait(kfp: KfpServer, wait: Callable[..., Done]) -> None:
    done = wait({3: lambda run_id: kfp.runs.pop(run_id)})
    assert done.code == 2
    assert "KFP has no such run any more" in done.err.splitlines()[-1]
