"""What `submit`, `submit --wait` and `status` say of a run whose pods wait, were killed, or will never have a node."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelmill.pipelines.cluster import pods, settings, waiting
from modelmill.runtime.run_records import StepRecord
from tests import kfp_cluster, kubernetes_run
from tests.kfp_cluster import Done, cluster_recipe, write_cluster
from tests.kfp_server import KfpServer, Request
from tests.kubernetes_run import KubernetesRun, node, out_of_memory

pytestmark = pytest.mark.usefixtures("reachable")

QUOTA = (
    'pods "x" is forbidden: exceeded quota: modelmill, requested: requests.nvidia.com/gpu=1, used: '
    "requests.nvidia.com/gpu=8, limited: requests.nvidia.com/gpu=8"
)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kfp_cluster.isolate(monkeypatch, tmp_path)
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0.05)


@pytest.fixture
def kubernetes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[KubernetesRun]:
    """A cluster that can be asked from here."""
    with kubernetes_run.serving(tmp_path) as run:
        monkeypatch.setenv("KUBECONFIG", str(run.kubeconfig))
        yield run


@pytest.fixture
def wait(kfp: KfpServer, call: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """What waits for a run that stands still until it is cancelled; `begin` is told its id when it is first seen."""
    monkeypatch.setattr(pods, "SECONDS", 0.2)

    def waited(begin: Callable[[str], None], seconds: float = 3.0) -> Done:
        first: dict[str, float] = {}

        def before(request: Request) -> None:
            run_id = request.path.rpartition("/")[2]
            if request.method != "GET" or run_id not in kfp.runs:
                return
            if run_id not in first:
                first[run_id] = time.monotonic()
                begin(run_id)
            elif time.monotonic() - first[run_id] > seconds:
                kfp.end_run(run_id, "FAILED")

        kfp.before = before
        cluster = write_cluster(tmp_path, kfp.url)
        return call("submit", cluster_recipe(tmp_path), "--cluster", cluster, "--wait")

    return waited


def test_a_run_is_asked_as_soon_as_it_has_stood_still_for_a_minute(
    kubernetes: KubernetesRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    now, said = [1000.0], list[str]()
    monkeypatch.setattr(pods.time, "monotonic", lambda: now[0])
    kubernetes.add_recorded("unschedulable", "run", "pretraining")
    described = settings.load(write_cluster(tmp_path, "http://kfp"))
    watch = pods.Watch(
        "run", described, lambda records: None, lambda line: said.append(f"{now[0] - 1000:.0f} s: {line}")
    )
    for second in range(0, 200, 5):
        now[0] = 1000.0 + second
        # Data validation begins in the 20th second, and nothing else ever does.
        watch([StepRecord(name="data_validation", status="running")] if second >= 20 else [])
    assert len(said) == 1 and said[0].startswith("80 s: waiting: pretraining: no node fits"), said
    made = kubernetes.objects["pods"][0]
    made["metadata"]["creationTimestamp"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    young = pods.Watch("run", described, lambda records: None, said.append)
    now[0] += 61
    young([])
    assert len(said) == 1, "a pod that has just been made waits for nothing special"


def submitted(kfp: KfpServer, call: Callable[..., Done], folder: Path) -> Any:
    cluster = ("--cluster", write_cluster(folder, kfp.url))
    done = call("submit", cluster_recipe(folder), *cluster, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)["run_id"], cluster


@pytest.mark.parametrize(
    ("recorded", "said"),
    [
        (
            "unschedulable",
            "waiting: pretraining: no node fits: 0/1 nodes are available: 1 Insufficient cpu; profile cpu",
        ),
        (
            "root-refused",
            "waiting: pretraining: its container is refused: container has runAsNonRoot and image will run",
        ),
        ("no-such-image", "waiting: pretraining: image localhost:5001/modelmill/pretraining:9.9.9 cannot be pulled"),
    ],
)
def test_wait_says_once_what_a_run_that_stands_still_waits_for(
    kubernetes: KubernetesRun, wait: Callable[..., Done], recorded: str, said: str
) -> None:
    done = wait(lambda run_id: kubernetes.add_recorded(recorded, run_id, "pretraining", profile="cpu"))
    assert done.err.count(said) == 1, done.err
    assert "Traceback" not in done.err


def test_wait_says_that_a_quota_is_used_up_though_there_is_no_pod(
    kubernetes: KubernetesRun, wait: Callable[..., Done]
) -> None:
    def begin(run_id: str) -> None:
        waiting = node("pretraining(0).executor(0)", "Pending", QUOTA)
        kubernetes.set_workflow(run_id, [waiting], compressed=True)

    done = wait(begin)
    assert (
        done.err.count("waiting: pretraining: quota modelmill is used up: it asks for requests.nvidia.com/gpu=1") == 1
    )


def test_wait_says_at_once_that_a_step_was_killed_for_memory_and_is_tried_again(
    kubernetes: KubernetesRun, wait: Callable[..., Done]
) -> None:
    def begin(run_id: str) -> None:
        kubernetes.add(out_of_memory(run_id, "fine_tuning"))
        again = kubernetes_run.pod(
            run_id, "fine_tuning", {"phase": "Running"}, attempt=1, created="2026-01-01T00:01:00Z"
        )
        kubernetes.add(again)

    done = wait(begin)
    assert done.err.count("fine_tuning: out of memory with 330Mi, tried again\n") == 1, done.err


def test_wait_says_that_a_node_of_a_trainjob_was_killed_for_memory_and_restarted_in_place(
    kubernetes: KubernetesRun, wait: Callable[..., Done]
) -> None:
    def begin(run_id: str) -> None:
        made = kubernetes.add(out_of_memory(run_id, "fine_tuning"))
        made["status"]["phase"] = "Running"
        (container,) = [one for one in made["status"]["containerStatuses"] if one["name"] == "main"]
        container |= {"restartCount": 1, "lastState": container["state"], "state": {"running": {}}}

    done = wait(begin)
    assert done.err.count("fine_tuning: out of memory with 330Mi, tried again\n") == 1, done.err


def test_wait_says_what_the_executor_cannot_upload(kubernetes: KubernetesRun, wait: Callable[..., Done]) -> None:
    def begin(run_id: str) -> None:
        status = {
            "phase": "Running",
            "containerStatuses": [
                {"name": "main", "state": {"terminated": {"exitCode": 0, "finishedAt": "2026-01-01T00:00:00Z"}}},
                {"name": "wait", "state": {"running": {}}},
            ],
        }
        made = kubernetes.add(kubernetes_run.pod(run_id, "preprocessing", status))
        kubernetes.logs[made["metadata"]["name"], "wait"] = "saving\nfailed to put file: Not enough data nodes found\n"

    done = wait(begin)
    said = "preprocessing: its work is done, and what it made cannot be uploaded: failed to put file: Not enough data"
    assert done.err.count(f"waiting: {said}") == 1, done.err


@pytest.mark.parametrize("how", ["no kubeconfig", "nothing there", "not allowed", "no such file's syntax"])
def test_where_kubernetes_cannot_be_asked_nothing_more_is_said(
    kubernetes: KubernetesRun, wait: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    kubernetes.refused = {"pods", "events", "workflows", "nodes", "resourcequotas"} if how == "not allowed" else set()
    if how == "no kubeconfig":
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    if how == "nothing there":
        kubernetes.port = 1
        monkeypatch.setenv("KUBECONFIG", str(kubernetes.kubeconfig))
    if how == "no such file's syntax":
        (tmp_path / "broken").write_text("{")
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "broken"))
    done = wait(lambda run_id: kubernetes.add_recorded("unschedulable", run_id, "pretraining"), 0.6)
    assert "waiting" not in done.err and "Traceback" not in done.err
    assert "run: KFP says FAILED" in done.err
    assert done.code == 1


def test_status_says_what_a_run_waits_for_once_it_has_for_a_minute(
    kfp: KfpServer, call: Callable[..., Done], kubernetes: KubernetesRun, tmp_path: Path
) -> None:
    run_id, cluster = submitted(kfp, call, tmp_path)
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    made = kubernetes.add_recorded("unschedulable", run_id, "pretraining", profile="gpu-a100", created=now)
    assert json.loads(call("status", run_id, *cluster, "--json").out)["waiting_for"] is None
    made["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    said = json.loads(call("status", run_id, *cluster, "--json").out)["waiting_for"]
    assert said.startswith(
        "pretraining: no node fits: 0/1 nodes are available: 1 Insufficient cpu; profile gpu-a100 asks"
    )
    assert f"waiting: {said}" in call("status", run_id, *cluster).out


def test_status_says_why_a_run_ended_of_which_no_step_and_not_kfp_says_anything(
    kfp: KfpServer, call: Callable[..., Done], kubernetes: KubernetesRun, tmp_path: Path
) -> None:
    run_id, cluster = submitted(kfp, call, tmp_path)
    recorded = json.loads((kubernetes_run.RECORDED / "workflow_upload_failed.json").read_text())
    nodes = [node(name, phase, message) for name, kind, phase, message in recorded["nodes"] if kind == "Pod"]
    kubernetes.set_workflow(run_id, nodes, message=recorded["message"])
    kfp.end_run(run_id, "FAILED")
    shown = json.loads(call("status", run_id, *cluster, "--json").out)
    assert shown["reason"].startswith("driver of the run: what it made could not be uploaded: timed out waiting"), shown
    message = 'configmaps is forbidden: User "system:serviceaccount:mill:argo" cannot create resource "configmaps"'
    kubernetes.set_workflow(run_id, [], message=message)
    assert json.loads(call("status", run_id, *cluster, "--json").out)["reason"] == message


def warned(done: Done) -> list[str]:
    """The warnings; a note says that the store is the cluster's alone."""
    return [line for line in done.err.splitlines() if "warning" in line]


def machine(name: str, taint: str = "", labels: dict[str, str] | None = None, **allocatable: str) -> dict[str, Any]:
    taints = [{"key": taint, "effect": "NoSchedule"}] if taint else []
    offered = {key.replace("gpu", "nvidia.com/gpu"): value for key, value in allocatable.items()}
    return {
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"taints": taints},
        "status": {"allocatable": offered},
    }


PROFILES = {
    "default": "small",
    "profiles": {
        "small": {"cpu": "1", "memory": "1Gi"},
        "large": {"cpu": "16", "memory": "64Gi", "node_selector": {"pool": "large"}},
    },
}


@pytest.fixture
def submit(
    kfp: KfpServer, call: Callable[..., Done], kubernetes: KubernetesRun, tmp_path: Path
) -> Callable[[bool], Done]:
    """What submits a recipe that asks for `large`; its Workflow is there at once, as KFP makes it, or elsewhere."""

    def asked(is_here: bool = True) -> Done:
        def begin() -> None:
            kubernetes.set_workflow(list(kfp.runs)[-1] if is_here else "another", [])

        kubernetes.on_workflows = begin
        cluster = write_cluster(tmp_path, kfp.url)
        (tmp_path / "profiles.yaml").write_text(yaml.safe_dump(PROFILES))
        recipe = cluster_recipe(tmp_path, resources={"fine_tuning": {"profile": "large"}})
        return call("submit", recipe, "--cluster", cluster)

    return asked


def test_a_profile_that_no_node_can_satisfy_is_a_warning_at_submission(
    kubernetes: KubernetesRun, submit: Callable[..., Done]
) -> None:
    kubernetes.objects["nodes"] = [
        machine("a", cpu="4", memory="16Gi"),
        machine("b", cpu="8", memory="32Gi", labels={"pool": "large"}),
        machine("c", cpu="32", memory="256Gi", labels={"pool": "large"}, taint="example.com/reserved"),
    ]
    done = submit()
    assert done.code == 0
    (line,) = warned(done)
    assert line == (
        "modelmill: warning: fine_tuning: no node fits profile large (cpu 16, memory 64Gi): 0 of 3 nodes: 1 without "
        "label pool=large, 1 with cpu 8, 1 with taint example.com/reserved; it waits until there is one, or cancel it"
    )


def test_nodes_that_fit_are_no_warning_and_another_cluster_s_are_not_believed(
    kubernetes: KubernetesRun, submit: Callable[..., Done]
) -> None:
    kubernetes.objects["nodes"] = [machine("a", cpu="3920m", memory="15Gi")]
    assert warned(submit(False)) == [], "the kubeconfig is of another cluster: the run has no Workflow there"
    fitting = machine("b", cpu="32", memory="134217728Ki", labels={"pool": "large"})
    kubernetes.objects["nodes"].append(fitting)
    assert warned(submit()) == []
    fitting["metadata"]["labels"]["nvidia.com/gpu.present"] = "true"
    assert "1 not nvidia.com/gpu.present NotIn true" in warned(submit())[0]


@pytest.mark.parametrize(
    ("hard", "said"),
    [
        ("8", "is more than quota modelmill allows: requests.cpu 8; have it raised, or cancel the run"),
        ("32", "is more than quota modelmill has left: requests.cpu 20 of 32 is in use; it waits for other runs"),
        ("64", ""),
    ],
)
def test_a_namespace_without_quota_left_is_a_warning_at_submission(
    kubernetes: KubernetesRun, submit: Callable[..., Done], hard: str, said: str
) -> None:
    status = {"hard": {"requests.cpu": hard, "pods": "200"}, "used": {"requests.cpu": "20" if hard != "8" else "0"}}
    kubernetes.objects["resourcequotas"] = [{"metadata": {"name": "modelmill"}, "status": status}]
    line = f"modelmill: warning: fine_tuning: profile large (cpu 16, memory 64Gi) {said}"
    assert warned(submit()) == ([line] if said else [])
