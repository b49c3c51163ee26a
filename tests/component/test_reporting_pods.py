"""The outcome of a run that Kubernetes ended: the exit handler says what its pods say."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelmill.components.reporting.notify_words import Message
from modelmill.components.reporting.outcome import KILLED
from tests import kubernetes_run
from tests.component.past import RUN, Finished, Past
from tests.kubernetes_run import KubernetesRun, node, out_of_memory, pod

pytestmark = pytest.mark.usefixtures("default_registry")


@pytest.fixture
def kubernetes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[KubernetesRun]:
    """The cluster that the exit handler's pod is in."""
    with kubernetes_run.serving(tmp_path) as run:
        monkeypatch.setenv("KUBECONFIG", str(run.kubeconfig))
        monkeypatch.setenv("KFP_POD_NAME", "tiny-table-x7k2p-system-container-impl-1")
        yield run


def killed(folder: Path, is_started: bool = True) -> Finished:
    """A run whose pretraining never said how it ended, or never began."""
    past = Past(folder)
    past.data_validation()
    past.preprocessing()
    if is_started:
        past.step("pretraining", {}, status="running")
    return past.report()


def test_out_of_memory_is_said_with_the_limit_everywhere(tmp_path: Path, kubernetes: KubernetesRun) -> None:
    for attempt in range(4):
        kubernetes.add(out_of_memory(RUN, "pretraining", attempt=attempt, created=f"2026-01-01T00:00:0{attempt}Z"))
    run = killed(tmp_path)
    reason = "out of memory with 330Mi, in each of 4 attempts; give it more with resources.pretraining.memory"
    assert (run.outcome["outcome"], run.outcome["exit_code"]) == ("failed", 1)
    assert (run.outcome["failed_step"], run.outcome["reason"]) == ("pretraining", reason)
    assert reason in run.page.text
    assert f"Reason: {reason}\n" in Message.of("tiny", run.outcome).text


def test_the_last_attempt_decides(tmp_path: Path, kubernetes: KubernetesRun) -> None:
    kubernetes.add(out_of_memory(RUN, "pretraining"))
    evicted = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}
    kubernetes.add(pod(RUN, "pretraining", evicted, attempt=1, created="2026-01-01T00:00:01Z"))
    assert killed(tmp_path).outcome["reason"] == "evicted: The node was low on resource: memory."


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ("Preempted", "preempted by a pod of higher priority"),
        ("TaintManagerEviction", "it lost its node"),
        ("", "its pod was deleted, by a person or with its node"),
    ],
)
def test_a_pod_that_is_gone_is_known_from_its_workflow_and_its_events(
    tmp_path: Path, kubernetes: KubernetesRun, event: str, reason: str
) -> None:
    gone = node("pretraining(0).executor(0)", "Error", "pod deleted")
    kubernetes.set_workflow(RUN, [gone], compressed=True)
    if event:
        name = f"{kubernetes_run.WORKFLOW}-system-container-impl-{gone['id'].rpartition('-')[2]}"
        kubernetes.add_event(name, reason=event, message="Preempted by pod 1 on node n1", type="Normal")
        kubernetes.add_event("somebody-else-1", reason="Preempted", message="", type="Normal")
    assert killed(tmp_path).outcome["reason"] == reason


@pytest.mark.parametrize(
    ("recorded", "reason"),
    [
        ("no-such-image", "image localhost:5001/modelmill/pretraining:9.9.9 cannot be pulled: dial tcp 127.0.0.1:5001"),
        ("secret-missing", 'its container is refused: secret "nothing" not found; create it'),
        (
            "unschedulable",
            "no node fits: 0/1 nodes are available: 1 Insufficient cpu; profile cpu-large asks for cpu 8",
        ),
    ],
)
def test_a_step_that_never_began_says_what_it_waited_for(
    tmp_path: Path, kubernetes: KubernetesRun, recorded: str, reason: str
) -> None:
    kubernetes.add_recorded(recorded, RUN, "pretraining", profile="cpu-large")
    outcome = killed(tmp_path, is_started=False).outcome
    assert outcome["failed_step"] == "pretraining" and outcome["reason"].startswith(reason)


def test_a_step_whose_driver_failed_says_so(tmp_path: Path, kubernetes: KubernetesRun) -> None:
    refused = "wait: Error (exit code 64): failed to put file: dial tcp 198.19.0.167:8333: connect: connection refused"
    nodes = [node("preprocessing(0).executor(0)", "Failed", "main: OOMKilled (exit code 1)", "2026-01-01T00:00:00Z")]
    nodes += [node("preprocessing(0).executor(1)", "Succeeded", None, "2026-01-01T00:00:01Z")]
    nodes += [node("pretraining-driver(0)", "Error", refused, "2026-01-01T00:00:02Z")]
    kubernetes.set_workflow(RUN, nodes)
    reason = killed(tmp_path, is_started=False).outcome["reason"]
    assert reason.startswith("its driver: what it made could not be uploaded: failed to put file: dial tcp")
    kubernetes.set_workflow(RUN, nodes[:2])
    assert killed(tmp_path / "again", is_started=False).outcome["reason"] == "it did not start", "it was made up for"


def test_a_node_of_the_run_s_trainjob_is_asked_too(tmp_path: Path, kubernetes: KubernetesRun) -> None:
    made = {"metadata": {"name": "pretraining-0f3c", "labels": {"modelmill.dev/run": RUN}}}
    kubernetes.objects["trainjobs"] = [made]
    kubernetes.add(pod(RUN, "pretraining", {"phase": "Failed"}))
    of_the_node = out_of_memory("", "pretraining", created="2026-01-01T00:00:01Z")
    of_the_node["metadata"]["annotations"] = {}
    of_the_node["metadata"]["labels"] = {
        "jobset.sigs.k8s.io/jobset-name": "pretraining-0f3c",
        "modelmill.dev/step": "pretraining",
    }
    kubernetes.add(of_the_node)
    assert killed(tmp_path).outcome["reason"].startswith("out of memory with 330Mi; give it more")


@pytest.mark.parametrize("how", ["not in a pod", "not allowed", "away", "nothing known"])
def test_where_nothing_is_known_the_old_words_stay(
    tmp_path: Path, kubernetes: KubernetesRun, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how != "nothing known":
        kubernetes.add(out_of_memory(RUN, "pretraining"))
    if how == "not in a pod":
        monkeypatch.delenv("KFP_POD_NAME")
    if how == "not allowed":
        kubernetes.refused = set(kubernetes.objects)
    if how == "away":
        kubernetes.port = 1
        monkeypatch.setenv("KUBECONFIG", str(kubernetes.kubeconfig))
    assert killed(tmp_path).outcome["reason"] == KILLED
    assert how != "not in a pod" or kubernetes.asked == []
