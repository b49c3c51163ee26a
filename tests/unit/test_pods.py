"""Why a pod does not start and why it has ended, of pods as a real cluster had them."""

import json
from typing import Any

import pytest

from modelmill.runtime.pods import explaining
from tests.kubernetes_run import RECORDED, out_of_memory, pod

NOT_STARTED = {one["pod"]: one for one in json.loads((RECORDED / "pods_that_do_not_start.json").read_text())}


def ended(**status: Any) -> dict[str, Any]:
    return pod("run", "pretraining", {"phase": "Failed", **status})


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        (
            "no-such-image",
            "image",
            "image localhost:5001/modelmill/pretraining:9.9.9 cannot be pulled: dial tcp 127.0.0.1:5001: connect: "
            "connection refused; push it, or correct images in the cluster file",
        ),
        (
            "root-refused",
            "refused",
            "its container is refused: container has runAsNonRoot and image will run as root",
        ),
        (
            "secret-missing",
            "config",
            'its container is refused: secret "nothing" not found; create it in the namespace of the runs',
        ),
        (
            "volume-missing",
            "config",
            'it is not set up: MountVolume.SetUp failed for volume "c" : configmap "nothing" not found; '
            "create it in the namespace of the runs",
        ),
        (
            "unschedulable",
            "node",
            "no node fits: 0/1 nodes are available: 1 Insufficient cpu; profile cpu-large asks for cpu 8, memory 32Gi; "
            "ask for less in resources, choose another profile, or add such a node",
        ),
    ],
)
def test_a_pod_that_does_not_start_says_what_for(name: str, kind: str, said: str) -> None:
    found = NOT_STARTED[name]
    made = pod("run", "pretraining", found["status"], profile="cpu-large")
    reason = explaining.waiting(made, found["events"])
    assert reason is not None and (reason.kind, reason.advised("pretraining")) == (kind, said)


def test_a_pull_that_is_backed_off_still_says_why() -> None:
    found = NOT_STARTED["no-such-image"]
    made = pod("run", "pretraining", found["status"])
    made["status"]["containerStatuses"][0]["state"] = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off"}}
    reason = explaining.waiting(made, found["events"])
    assert reason is not None and reason.text.endswith("connect: connection refused")
    # Newer kubelets end the chain without an address.
    chain = 'rpc error: code = NotFound desc = failed to pull and unpack image "r/x:1": r/x:1: not found'
    made["status"]["containerStatuses"][0]["state"]["waiting"]["message"] = chain
    reason = explaining.waiting(made, [])
    assert reason is not None and reason.text.endswith("cannot be pulled: r/x:1: not found")


def test_a_pod_whose_work_goes_on_waits_for_nothing() -> None:
    assert explaining.waiting(pod("run", "pretraining", {"phase": "Running"}), []) is None


def test_killed_for_memory_is_said_with_the_limit_though_the_exit_code_is_the_launchers() -> None:
    made = out_of_memory("run", "fine_tuning")
    assert made["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 1
    reason = explaining.ended(made)
    assert reason is not None and reason.text == "out of memory with 330Mi"
    assert reason.advised("fine_tuning") == "out of memory with 330Mi; give it more with resources.fine_tuning.memory"
    bare = explaining.ended(pod("run", "x", NOT_STARTED["out-of-memory"]["status"]))
    assert bare is not None and bare.text == "out of memory with 64Mi"


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (
            {"reason": "Evicted", "message": "The node was low on resource: memory. Threshold quantity: 100Mi."},
            "evicted",
            "evicted: The node was low on resource: memory. Threshold quantity: 100Mi.",
        ),
        (
            {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]},
            "preempted",
            "preempted by a pod of higher priority",
        ),
        (
            {
                "conditions": [
                    {
                        "type": "DisruptionTarget",
                        "status": "True",
                        "reason": "DeletionByTaintManager",
                        "message": "Taint manager: deleting due to NoExecute taint",
                    }
                ]
            },
            "lost",
            "it lost its node: Taint manager: deleting due to NoExecute taint",
        ),
        (
            {"reason": "Terminated", "message": "Pod was terminated in response to imminent node shutdown."},
            "lost",
            "it lost its node: Pod was terminated in response to imminent node shutdown.",
        ),
        ({"reason": "DeadlineExceeded"}, "deadline", "not finished within its time limit of 6 h 0 min"),
        (
            {"reason": "OutOfcpu", "message": "Pod was rejected: Node didn't have enough resource: cpu"},
            "node",
            "refused by its node: Pod was rejected: Node didn't have enough resource: cpu",
        ),
        (
            {
                "containerStatuses": [
                    {
                        "name": "wait",
                        "state": {"terminated": {"exitCode": 64, "message": "failed to put file: refused"}},
                    },
                    {"name": "main", "state": {"terminated": {"exitCode": 0}}},
                ]
            },
            "upload",
            "what it made could not be uploaded: failed to put file: refused",
        ),
    ],
)
def test_a_pod_that_was_taken_away_says_by_what(status: dict[str, Any], kind: str, said: str) -> None:
    made = ended(**status)
    made["spec"]["activeDeadlineSeconds"] = 21600
    assert explaining.ended(made) == explaining.Reason(kind, said)  # type: ignore[arg-type]


def test_a_step_that_failed_by_itself_is_left_to_its_own_words() -> None:
    failed = {"name": "main", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}
    assert explaining.ended(ended(containerStatuses=[failed])) is None


@pytest.mark.parametrize(
    ("node", "task"),
    [
        ("tabular-mlp-sc5d9(0).root(0).exit-handler-1(0).fine-tuning(0).executor(3)", "fine_tuning"),
        ("tabular-mlp-bcvz5(0).root(0).exit-handler-1(0).evaluation-driver(0)", "driver of evaluation"),
        ("tabular-mlp-kz7pq(0).root-driver(0)", "driver of the run"),
    ],
)
def test_the_task_of_a_node_is_in_its_path(node: str, task: str) -> None:
    assert explaining.task_of(node) == task


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            'pods "tiny-x7k2p-impl-1" is forbidden: exceeded quota: modelmill, requested: requests.nvidia.com/gpu=1, '
            "used: requests.nvidia.com/gpu=8, limited: requests.nvidia.com/gpu=8",
            "quota modelmill is used up: it asks for requests.nvidia.com/gpu=1, and requests.nvidia.com/gpu=8 of "
            "requests.nvidia.com/gpu=8 is in use",
        ),
        ("exceeded quota: modelmill, requested: requests.nvidia.com/gpu=1", "exceeded quota: modelmill, requested: "),
        ("main: OOMKilled (exit code 1)", "out of memory"),
        ("pod deleted", "its pod was deleted, by a person or with its node"),
        ("Pod was active on the node longer than the specified deadline", "not finished within its time limit"),
        (
            'configmaps is forbidden: User "system:serviceaccount:modelmill:argo" cannot create resource "configmaps"',
            "configmaps is forbidden: User",
        ),
        ("Unschedulable: 0/3 nodes are available: 3 Insufficient memory.", "no node fits: 0/3 nodes are available"),
    ],
)
def test_messages_of_a_workflow_s_nodes_are_reasons(message: str, said: str) -> None:
    reason = explaining.of_message(message)
    assert reason is not None and reason.text.startswith(said)


@pytest.mark.parametrize(
    "message", ["", "No more retries left", "Step exceeded its deadline", "omitted: depends condition not met"]
)
def test_messages_that_say_nothing_are_none(message: str) -> None:
    assert explaining.of_message(message) is None


def test_what_could_not_be_uploaded_is_in_the_recorded_workflow() -> None:
    recorded = json.loads((RECORDED / "workflow_upload_failed.json").read_text())
    message = next(message for name, _, _, message in recorded["nodes"] if name == "root-driver(0)")
    reason = explaining.of_message(message)
    assert reason is not None and reason.kind == "upload"
    assert reason.text.startswith("what it made could not be uploaded: timed out") and "refused" in reason.text
