"""`modelmill cancel`, and what everything that reads a cancelled run says of it."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelmill.components.reporting.api import report_run
from modelmill.pipelines.cluster import cancelling, following, settings, waiting
from modelmill.runtime import cancellation, run_records
from modelmill.runtime.run_records import Problem, Progress, StepRecord
from modelmill.store import Store, open_store
from modelmill.training.launch.trainjob_spec import RUN_LABEL
from tests import kfp_cluster, kubernetes_api
from tests.cli import wait_until
from tests.kfp_cluster import Done, cluster_recipe, write_cluster
from tests.kfp_server import KfpServer
from tests.kubernetes_api import KubernetesApi

Call = Callable[..., Done]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kfp_cluster.isolate(monkeypatch, tmp_path)
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(cancelling, "POLL_SECONDS", 0.05)
    monkeypatch.setattr("modelmill.champion.champion_state.who", lambda: "ann@home")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "no-such-file"))


@pytest.fixture
def store(bucket: str) -> Store:
    return open_store(f"{bucket}/mill")


class Run:
    """A run on a cluster whose step is at work."""

    def __init__(self, kfp: KfpServer, call: Call, store: Store, folder: Path) -> None:
        self.kfp, self.call, self.store = kfp, call, store
        self.recipe = cluster_recipe(folder)
        self.cluster = ("--cluster", write_cluster(folder, kfp.url, store.uri))
        done = call("submit", self.recipe, *self.cluster, "--json")
        assert done.code == 0, done.err
        self.id = json.loads(done.out)["run_id"]
        kfp.runs[self.id].state = "RUNNING"
        self.write("running", progress=Progress(done=120, total=400, text="loss 1.25"))

    def write(self, status: run_records.Status, **fields: Any) -> None:
        record = StepRecord(name="data_validation", status=status, started=1.0, **fields)
        run_records.write_step(self.store, self.id, record)

    def cancel(self, *options: str) -> Done:
        return self.call("cancel", self.id, *self.cluster, *options)

    @property
    def state(self) -> str:
        return str(self.kfp.runs[self.id].state)

    def has_ended(self) -> bool:
        return wait_until(lambda: self.state == "FAILED", 20)

    def save_when_asked(self) -> None:
        """What a step does: it sees the word in the store, saves, and ends. Before, KFP must not have been told."""
        assert wait_until(lambda: cancellation.read(self.store, self.id) is not None, 20)
        self.states_before = [self.state]
        asked = len(self.kfp.asked("GET", f"/{self.id}"))
        assert wait_until(lambda: len(self.kfp.asked("GET", f"/{self.id}")) > asked, 20), "cancel waits for it"
        problem = Problem(kind="cancelled", message="cancelled by ann@home, today; saved at step 120", exit_code=4)
        self.write("cancelled", problem=problem)


@pytest.fixture
def run(kfp: KfpServer, call: Call, store: Store, tmp_path: Path) -> Run:
    return Run(kfp, call, store, tmp_path)


def test_steps_save_before_kfp_is_told(run: Run) -> None:
    saving = threading.Thread(target=run.save_when_asked, daemon=True)
    saving.start()
    done = run.cancel("--json")
    saving.join()
    assert done.code == 0, done.err
    assert run.states_before == ["RUNNING"], "KFP was told before the step had saved"
    told = json.loads(done.out)
    assert told["state"] == "CANCELING" and told["cancelled"]["by"] == "ann@home"
    assert f"modelmill resume {run.id} --cluster" in told["resume"]
    assert "data_validation: asked to save and end; stopped in 60 s at the latest" in done.err
    assert len(run.kfp.asked("POST", ":terminate")) == 1 and run.has_ended()


def test_a_step_that_does_not_end_is_stopped_after_a_while(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancelling, "SAVING_SECONDS", 0.5)
    assert run.cancel().code == 0
    assert len(run.kfp.asked("POST", ":terminate")) == 1 and run.has_ended()


def test_again_it_is_being_cancelled_and_then_it_has_ended(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancelling, "SAVING_SECONDS", 0.0)
    run.kfp.cancel_seconds = 600.0
    assert run.cancel().code == 0
    assert run.state == "CANCELING"
    monkeypatch.setattr("modelmill.champion.champion_state.who", lambda: "bob")
    again = run.cancel()
    assert (again.code, again.err) == (0, "")
    assert again.out.startswith(f"{run.id}: is being cancelled (cancelled by ann@home, ")
    run.kfp.end_run(run.id, "FAILED")
    ended = run.cancel()
    assert ended.code == 2 and "has ended already (cancelled by ann@home, " in ended.err


def test_two_who_cancel_at_once_are_told_the_same(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """KFP answers the second with 400 and "Row not found"."""
    monkeypatch.setattr(cancelling, "SAVING_SECONDS", 0.0)
    run.kfp.cancel_seconds = 600.0

    def another(request: Any) -> None:
        if request.path.endswith(":terminate") and run.state == "RUNNING":
            run.kfp.runs[run.id].state = "CANCELING"

    run.kfp.before = another
    done = run.cancel()
    assert (done.code, done.err) == (0, ""), done.err
    assert "is being cancelled" in done.out


def test_a_store_that_is_not_reachable_is_said(
    kfp: KfpServer, call: Call, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = ("--cluster", write_cluster(tmp_path, kfp.url, store.uri))
    run_id = json.loads(call("submit", cluster_recipe(tmp_path), *cluster, "--json").out)["run_id"]
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    done = call("cancel", run_id, *cluster)
    assert done.code == 0
    notes = [line for line in done.err.splitlines() if "note: " in line]
    assert "its steps are stopped without saving first" in notes[0]
    assert f"kubectl delete trainjobs -n mill -l {RUN_LABEL}={run_id} --cascade=foreground" in notes[1]
    assert wait_until(lambda: kfp.runs[run_id].state == "FAILED", 20)
    shown = call("status", run_id, *cluster, "--json")
    assert json.loads(shown.out)["reason"] == "cancelled; the store does not say by whom"


def test_wait_and_status_say_by_whom_where_no_exit_handler_has_lived(run: Run) -> None:
    def cancel() -> None:
        assert wait_until(lambda: len(run.kfp.runs) == 2, 20)
        [waited] = set(run.kfp.runs) - {run.id}
        run.id = waited
        run.write("running", progress=Progress(done=120, total=400, text="loss 1.25"))
        cancellation.write(run.store, waited, "bob")
        run.kfp.runs[waited].state_history = []
        run.kfp.end_run(waited, "FAILED")

    threading.Thread(target=cancel, daemon=True).start()
    done = run.call("submit", run.recipe, *run.cluster, "--wait", "--json")
    shown = json.loads(done.out)
    assert done.code == shown["exit_code"] == 4
    assert (shown["outcome"], shown["failed_step"]) == ("cancelled", "data_validation")
    assert "data_validation: cancelled by bob, " in done.err and "again: modelmill resume" in done.err
    assert [step["status"] for step in shown["steps"]] == ["cancelled"]
    status = run.call("status", run.id, *run.cluster)
    assert f"{run.id}" in status.out and ": cancelled" in status.out and "cancelled by bob, " in status.out


def test_an_exit_handler_that_lives_says_by_whom_and_so_does_wait(run: Run, tmp_path: Path) -> None:
    cancellation.write(run.store, run.id, "bob")
    recipe = run_records.read_run(run.store, run.id)
    assert recipe is not None
    report_run(recipe=json.dumps(recipe.recipe), store=run.store.uri, run_id=run.id, report=str(tmp_path / "page"))
    run.kfp.end_run(run.id, "FAILED")
    outcome = run_records.read_outcome(run.store, run.id)
    assert outcome is not None and (outcome["outcome"], outcome["exit_code"]) == ("cancelled", 4)
    shown = json.loads(run.call("status", run.id, *run.cluster, "--json").out)
    assert shown["exit_code"] == 4 and shown["reason"].startswith("cancelled by bob, ")
    assert [step["status"] for step in shown["steps"]] == ["cancelled"]


def test_status_says_so_while_it_is_being_cancelled(run: Run) -> None:
    cancellation.write(run.store, run.id, "bob")
    shown = json.loads(run.call("status", run.id, *run.cluster, "--json").out)
    assert shown["reason"].startswith("cancelled by bob, ") and shown["exit_code"] is None


def test_a_list_tells_cancelled_runs_from_failed_ones(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancelling, "SAVING_SECONDS", 0.0)
    failed = json.loads(run.call("submit", run.recipe, *run.cluster, "--json").out)["run_id"]
    run.kfp.end_run(failed, "FAILED")
    run.cancel()
    assert run.has_ended()
    listed = json.loads(run.call("status", *run.cluster, "--json").out)["runs"]
    assert {one["run_id"]: one["state"] for one in listed} == {failed: "FAILED", run.id: "CANCELED"}


@pytest.fixture
def kubernetes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    (tmp_path / "kubernetes").mkdir()
    with kubernetes_api.running(tmp_path / "kubernetes", {}) as served:
        monkeypatch.setenv("KUBECONFIG", str(served.kubeconfig))
        yield served


def train_on_nodes(api: KubernetesApi, store: Store, run_id: str) -> str:
    """A TrainJob that the run's step has made."""
    name = f"fine-tuning-{run_id[:8]}"
    command = ["sh", "-c", "trap 'sleep 0.7; exit 0' TERM; sleep 60 & wait"]
    trainer = {"numNodes": 1, "command": command}
    api.create({"metadata": {"name": name, "labels": {RUN_LABEL: run_id}}, "spec": {"trainer": trainer}})
    store.put(f"runs/{run_id}/jobs/{name}/job.json", b"{}")
    return name


def test_the_run_s_trainjobs_are_deleted_and_no_others(
    run: Run, kubernetes: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancelling, "SAVING_SECONDS", 0.0)
    mine = train_on_nodes(kubernetes, run.store, run.id)
    other = train_on_nodes(kubernetes, run.store, "another-run")
    done = run.cancel()
    assert (done.code, done.err) == (0, "")
    assert kubernetes.deleted == [mine]
    assert kubernetes.jobs[mine]["metadata"]["finalizers"] == ["foregroundDeletion"], "it waits for its nodes"
    assert wait_until(lambda: mine not in kubernetes.jobs, 20)
    assert list(kubernetes.jobs) == [other]


def test_trainjobs_that_cannot_be_deleted_from_here_are_said(
    run: Run, kubernetes: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancelling, "SAVING_SECONDS", 0.0)
    train_on_nodes(kubernetes, run.store, run.id)
    kubernetes.refuse = {("GET", "trainjobs"): 403}
    done = run.cancel()
    assert done.code == 0
    assert "Kubernetes answers 403" in done.err and f"-l {RUN_LABEL}={run.id} --cascade=foreground" in done.err


def test_wait_says_that_a_preempted_step_goes_on(run: Run) -> None:
    rows: list[dict[str, Any]] = []

    def preempt() -> None:
        assert wait_until(lambda: len(run.kfp.runs) == 2, 20)
        [run.id] = set(run.kfp.runs) - {run.id}
        saved = Problem(kind="preempted", message="saved at step 392, preempted; run it again to go on", exit_code=75)
        run.write("failed", problem=saved)
        rows.extend(following.shown(run.kfp.runs[run.id], run.store, settings.load(run.cluster[1]))["steps"])
        looks = len(run.kfp.asked("GET", run.id))
        assert wait_until(lambda: len(run.kfp.asked("GET", run.id)) > looks + 1, 20)
        run.write("ran", headline="9 shards")
        run_records.write_outcome(run.store, run.id, {"outcome": "registered", "exit_code": 0})
        run.kfp.end_run(run.id, "SUCCEEDED")

    threading.Thread(target=preempt, daemon=True).start()
    done = run.call("submit", run.recipe, *run.cluster, "--wait")
    assert done.code == 0, done.err
    assert "data_validation: preempted, goes on: saved at step 392\n" in done.err
    assert "data_validation: ran in 0.0 s: 9 shards" in done.err and "failed" not in done.err
    assert [(row["status"], row["headline"]) for row in rows] == [("preempted, goes on", "saved at step 392")]
