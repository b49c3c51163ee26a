"""A model step on several nodes: a TrainJob against the Kubernetes API, whose nodes really train."""

import itertools
import logging
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelmill import recipe as recipes
from modelmill.recipe import Training
from modelmill.runtime import cancellation, node, run_records
from modelmill.runtime.node import Node
from modelmill.store import open_store
from modelmill.store.manifest import Manifest
from modelmill.training.launch import nodes, trainjob_spec, trainjobs
from tests import kubernetes_api
from tests.component.steps import Steps
from tests.kubernetes_api import KubernetesApi
from tests.recipes import table_recipe, write_table
from tests.seaweedfs import SeaweedFS

SECRET = "AWS_SECRET_ACCESS_KEY"


@pytest.fixture
def api(
    tmp_path: Path, seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[KubernetesApi]:
    """A cluster whose runtime has the store's Secret, and a step that has it as well, and logs as in a container."""
    caplog.set_level(logging.INFO)
    for name, value in seaweedfs.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(trainjobs, "POLL_SECONDS", 0.2)
    (tmp_path / "cluster").mkdir()
    with kubernetes_api.running(tmp_path / "cluster", seaweedfs.env) as served:
        monkeypatch.setenv("KUBECONFIG", str(served.kubeconfig))
        yield served


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nodes")
    changes = {"fine_tuning__batch_size": 8, "fine_tuning__steps": 30, "fine_tuning__patience": None}
    return table_recipe(folder, write_table(folder / "data"), **changes)


class Prepared(Steps):
    """Everything before fine-tuning, in a bucket."""

    def __init__(self, recipe: Path, folder: Path, bucket: str, *overrides: str, first_run: int = 0) -> None:
        super().__init__(recipe, folder, *overrides)
        self.store, self.calls = open_store(bucket), first_run
        self.is_trained_before_it_ends = False
        self.inputs: dict[str, Manifest] = {"corpus": self.corpus()}
        self.inputs["pretrained"] = self.pretrained(self.inputs["corpus"])

    def train(self) -> Manifest:
        return self.call("fine_tuning", ["model"], **self.inputs)["model"]

    def train_fails(self) -> tuple[int, str]:
        return self.fails("fine_tuning", ["model"], **self.inputs)


@pytest.fixture(scope="module")
def shared(seaweedfs: SeaweedFS) -> str:
    """A bucket for all tests, in which what comes before fine-tuning is found by all but the first."""
    return seaweedfs.create_bucket(f"nodes-{os.urandom(4).hex()}")


TESTS = itertools.count(1)


@pytest.fixture
def steps(recipe: Path, tmp_path: Path, shared: str, api: KubernetesApi) -> Prepared:
    """Runs of this test alone, whose fine-tuning has a key of its own."""
    number = next(TESTS)
    own = f"fine_tuning.learning_rate={1 + number / 1000}"
    return Prepared(recipe, tmp_path, shared, "fine_tuning.nodes=2", own, first_run=100 * number)


def log_of(steps: Prepared) -> str:
    """The log of the step in the last call, as the store has it."""
    return steps.store.get(run_records.step_log_key(str(steps.calls), "fine_tuning")).decode()


def test_two_nodes_make_what_two_processes_make(
    recipe: Path, tmp_path: Path, steps: Prepared, api: KubernetesApi
) -> None:
    made = steps.train()
    rate = recipes.from_json(steps.recipe).fine_tuning.learning_rate
    here = Steps(recipe, tmp_path / "here", "fine_tuning.devices=2", f"fine_tuning.learning_rate={rate}")
    corpus = here.corpus()
    assert made.entries == here.tuned(corpus, here.pretrained(corpus)).entries
    assert steps.record("fine_tuning").metrics["devices"] == 2
    [job] = api.created
    assert job["spec"]["trainer"]["numNodes"] == 2
    assert job["spec"]["runtimeRef"]["name"] == "modelmill-torch"
    assert job["metadata"]["labels"] == {trainjob_spec.RUN_LABEL: str(steps.calls)}, "by this a run is cancelled"
    assert os.environ[SECRET] not in str(job), "credentials come from the runtime's Secret"
    said = log_of(steps)
    assert "node-0, attempt 1: " in said and "fine_tuning 30/30" in said, "the nodes' log is the step's"
    assert api.is_empty(), "no TrainJob outlives its step"


def test_what_a_node_says_is_wrong_is_one_line_of_the_step(tmp_path: Path, bucket: str, api: KubernetesApi) -> None:
    recipe = table_recipe(tmp_path, write_table(tmp_path / "data", rows=206))
    code, message = Prepared(recipe, tmp_path, bucket, "fine_tuning.nodes=2").train_fails()
    assert code == 2 and "batch_size: all: 2 devices cannot share" in message
    assert len(api.created) == 1 and api.is_empty()


def test_nodes_that_are_lost_are_made_again_but_not_for_ever(
    steps: Prepared, api: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "ATTEMPTS", 2)
    lost = [sys.executable, "-c", "raise SystemExit(137)"]
    api.replace = [lost, lost]
    code, message = steps.train_fails()
    assert code == 1 and "ended 2 times before its work was done" in message
    assert len(api.created) == 2 and len({job["metadata"]["name"] for job in api.created}) == 1
    api.replace = [lost]
    steps.calls -= 1  # the same run, tried again
    assert steps.train().entries
    assert len(api.created) == 4


def idle() -> list[str]:
    return [sys.executable, "-c", "import time; print('waiting', flush=True); time.sleep(600)"]


def terminate_once_created(api: KubernetesApi) -> None:
    while not api.created:
        time.sleep(0.02)
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_step_that_is_asked_to_end_deletes_its_trainjob(steps: Prepared, api: KubernetesApi) -> None:
    api.replace = [idle()]
    threading.Thread(target=terminate_once_created, args=(api,), daemon=True).start()
    code, message = steps.train_fails()
    assert code == 75 and "is deleted, preempted" in message
    assert api.is_empty() and len(api.deleted) == 1


def test_a_trainjob_that_an_earlier_attempt_left_running_is_joined(steps: Prepared, api: KubernetesApi) -> None:
    api.refuse = {("DELETE", "trainjobs"): 500}
    threading.Thread(target=terminate_once_created, args=(api,), daemon=True).start()
    assert steps.train_fails()[0] == 75
    api.refuse = {}
    assert len(api.jobs) == 1, "the API did not answer when it was to be deleted"
    steps.calls -= 1  # the same run, tried again
    assert steps.train().entries
    assert len(api.created) == 1, "no second one was made"
    assert api.is_empty()


def mine(job: dict[str, Any]) -> dict[str, Any]:
    return job


def of_another_definition(job: dict[str, Any]) -> dict[str, Any]:
    job["metadata"]["annotations"][trainjob_spec.ANNOTATION] = "0" * 64
    job["spec"]["trainer"]["command"] = idle()
    return job


def nobodys(job: dict[str, Any]) -> dict[str, Any]:
    job["metadata"]["annotations"] = {"who": "somebody else"}
    job["spec"]["trainer"]["command"] = idle()
    return job


def test_one_that_another_attempt_has_made_a_moment_earlier_is_adopted(steps: Prepared, api: KubernetesApi) -> None:
    api.rivals = [mine]
    assert steps.train().entries
    assert not api.rivals and len(api.created) == 1 and api.is_empty()


def test_one_of_ours_that_is_made_otherwise_is_replaced(steps: Prepared, api: KubernetesApi) -> None:
    api.rivals = [of_another_definition]
    assert steps.train().entries
    assert len(api.created) == len(api.deleted) == 2


def test_one_that_is_not_ours_is_refused_and_left_alone(steps: Prepared, api: KubernetesApi) -> None:
    api.rivals = [nobodys]
    code, message = steps.train_fails()
    assert code == 2 and "no step has made it; kubectl delete trainjob" in message
    assert len(api.jobs) == 1 and not api.deleted


def test_a_log_that_breaks_goes_on_where_it_broke(steps: Prepared, api: KubernetesApi) -> None:
    count = "import time\nfor n in range(40): print('line', n, flush=True); time.sleep(0.05)\nraise SystemExit(1)"
    api.replace, api.broken_streams = [[sys.executable, "-c", count]], 3
    steps.train()
    said = [line.partition("INFO ")[2] for line in log_of(steps).splitlines() if ": line " in line]
    assert said == [f"node-0, attempt 1: line {n}" for n in range(40)] and not api.broken_streams


def test_the_log_goes_on_when_a_node_is_restarted_in_place(steps: Prepared, api: KubernetesApi) -> None:
    first_time = "import os, sys, time\nmark = sys.argv[1] + os.environ['PET_NODE_RANK']\nold = os.path.exists(mark)\n"
    lines = "for n in range(5 if old else 9): print('again' if old else 'first', n, flush=True); time.sleep(0.05)\n"
    fail = "open(mark, 'w').close()\nraise SystemExit(1)"
    api.restarts = 1
    api.replace = [[sys.executable, "-c", first_time + lines + fail, str(api.folder / "mark-")]]
    steps.train()
    said = [
        line.partition("INFO ")[2] for line in log_of(steps).splitlines() if ": first " in line or ": again " in line
    ]
    expected = [f"node-0, attempt 1: first {n}" for n in range(9)] + [f"node-0, attempt 2: again {n}" for n in range(5)]
    assert said == expected


WORKFLOW = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "tiny-table-wwcrc", "uid": "054814ae"}


def test_the_run_s_workflow_owns_its_trainjobs(
    steps: Prepared, api: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.owners = {"tiny-table-wwcrc-impl-1": [{**WORKFLOW, "controller": True, "blockOwnerDeletion": True}]}
    monkeypatch.setenv("KFP_POD_NAME", "tiny-table-wwcrc-impl-1")
    steps.train()
    [job] = api.created
    assert job["metadata"]["ownerReferences"] == [WORKFLOW]


def test_a_pod_that_cannot_be_read_costs_the_owner_only(
    steps: Prepared, api: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KFP_POD_NAME", "unknown")
    steps.train()
    [job] = api.created
    assert not job["metadata"].get("ownerReferences")


def slow_to_save(api: KubernetesApi) -> list[str]:
    """A node that writes down when it has ended, a second after it was asked to."""
    code = "import signal, sys, time\nasked = []\nsignal.signal(signal.SIGTERM, lambda *_: asked.append(1))\n"
    wait = "while not asked: time.sleep(0.05)\ntime.sleep(1)\nopen(sys.argv[1], 'w').write('x')\nraise SystemExit(75)"
    return [sys.executable, "-c", code + wait, str(api.folder / "saved")]


def test_one_of_the_same_name_is_made_when_the_nodes_of_the_one_before_have_ended(
    steps: Prepared, api: KubernetesApi
) -> None:
    api.replace = [slow_to_save(api)]
    threading.Thread(target=terminate_once_created, args=(api,), daemon=True).start()
    assert steps.train_fails()[0] == 75
    [name] = api.jobs
    assert api.jobs[name]["metadata"]["deletionTimestamp"] and not (api.folder / "saved").exists()
    made_after = []

    def create(job: dict[str, Any], really: Any = api.create) -> None:
        made_after.append((api.folder / "saved").exists())
        really(job)

    api.create = create  # type: ignore[method-assign]
    steps.calls -= 1  # the same run, tried again
    assert steps.train().entries
    assert made_after == [True], "the nodes of the one before still lived"
    assert "joined" not in log_of(steps), "one that is being deleted is waited for"


def cancel_once_created(api: KubernetesApi, steps: Prepared, run_id: str) -> None:
    def is_trained() -> bool:
        record = run_records.read_step(steps.store, run_id, "fine_tuning")
        return record is not None and record.progress is not None and record.progress.done > 3

    while not api.created or (steps.is_trained_before_it_ends and not is_trained()):
        time.sleep(0.02)
    cancellation.write(steps.store, run_id, "ann")


@pytest.mark.parametrize("is_step_there", [True, False], ids=["step-there", "step-gone"])
def test_a_cancelled_run_ends_its_nodes_with_or_without_their_step(
    recipe: Path, tmp_path: Path, shared: str, api: KubernetesApi, monkeypatch: pytest.MonkeyPatch, is_step_there: bool
) -> None:
    """Without it, the step has died where it waits, and its API call to delete the TrainJob was never made."""
    monkeypatch.setattr(cancellation, "CHECK_SECONDS", 0.2)
    number = next(TESTS)
    long = (
        "fine_tuning.steps=100000",
        "fine_tuning.checkpoint_seconds=10000",
        f"fine_tuning.learning_rate={number}e-3",
    )
    steps = Prepared(recipe, tmp_path, shared, "fine_tuning.nodes=2", *long, first_run=100 * number)
    steps.is_trained_before_it_ends = True
    api.refuse = {} if is_step_there else {("DELETE", "trainjobs"): 500}
    api.restarts = 3
    run_id = str(steps.calls + 1)
    threading.Thread(target=cancel_once_created, args=(api, steps, run_id), daemon=True).start()
    code, message = steps.train_fails()
    assert code == 4 and message.startswith("cancelled by ann, ")
    if is_step_there:
        assert api.is_empty()
        return
    [nodes_of_it] = api.nodes.values()
    assert all(wait_for_end(node) == "Succeeded" for node in nodes_of_it), "nodes that fail are started again"
    assert [len(node.containers) for node in nodes_of_it] == [1, 1]
    assert "saved at step" in "".join(node.containers[-1].log.read_text() for node in nodes_of_it)


def wait_for_end(node: kubernetes_api.Node, seconds: float = 60) -> str:
    deadline = time.monotonic() + seconds
    while node.phase == "Running" and time.monotonic() < deadline:
        time.sleep(0.1)
    return node.phase


def test_nodes_get_what_the_cluster_s_profile_says(
    steps: Prepared, api: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = Node(
        resources={"cpu": "12", "memory": "96Gi", "nvidia.com/gpu": 2},
        labels={"modelmill.dev/priority": "modelmill-scheduled"},
        node_selector={"pool": "a100"},
        affinity={"nodeAffinity": {}},
        tolerations=[{"key": "nvidia.com/gpu", "operator": "Exists"}],
        shm="16Gi",
    )
    monkeypatch.setenv(node.VARIABLE, given.model_dump_json(exclude_defaults=True))
    steps.train()
    [spec] = (job["spec"] for job in api.created)
    assert spec["trainer"]["resourcesPerNode"]["limits"] == given.resources
    [job] = spec["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    pod = job["template"]["spec"]["template"]
    assert job["name"] == "node" and pod["metadata"]["labels"] == given.labels
    assert pod["spec"]["nodeSelector"] == given.node_selector and pod["spec"]["tolerations"] == given.tolerations
    assert pod["spec"]["volumes"] == [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "16Gi"}}]
    assert "affinity" in pod["spec"]


def test_a_store_that_other_nodes_cannot_reach_is_refused(recipe: Path, tmp_path: Path, api: KubernetesApi) -> None:
    steps = Steps(recipe, tmp_path, "fine_tuning.nodes=2")
    corpus = steps.corpus()
    code, message = steps.fails("fine_tuning", ["model"], corpus=corpus, pretrained=steps.pretrained(corpus))
    assert code == 2 and "fine_tuning.nodes: other nodes cannot reach file://" in message
    assert "s3://BUCKET/PREFIX" in message and not api.created


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("no kubeconfig", "no cluster to train on"),
        ("no server", "the Kubernetes API does not answer"),
        ("no runtime", "TrainingRuntime modelmill-torch: is not in the cluster"),
        ("not allowed", "the step's service account may not"),
    ],
)
def test_a_cluster_that_cannot_train_is_one_line(
    steps: Prepared, api: KubernetesApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str, said: str
) -> None:
    if what == "no kubeconfig":
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    elif what == "no server":
        api.port = 1
        monkeypatch.setenv("KUBECONFIG", str(shutil.copy(api.kubeconfig, tmp_path / "dead")))
    elif what == "no runtime":
        api.runtimes.clear()
    else:
        api.refuse = {("POST", "trainjobs"): 403}
    code, message = steps.train_fails()
    assert code == 2 and message.startswith("fine_tuning.nodes: ") and said in message
    assert "\n" not in message and not api.created


def test_a_batch_that_the_nodes_cannot_share_is_refused_in_the_recipe() -> None:
    with pytest.raises(ValueError, match="2 devices on 3 nodes cannot share a batch_size of 16 evenly; try 18"):
        Training(steps=1, learning_rate=0.1, batch_size=16, devices=2, nodes=3)
