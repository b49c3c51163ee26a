"""A model step on several nodes: a TrainJob against the Kubernetes API, whose nodes really train."""

import itertools
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
from modelmill.runtime import node
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
def api(tmp_path: Path, seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    """A cluster whose runtime has the store's Secret, and a step that has it as well."""
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


def test_two_nodes_make_what_two_processes_make(
    recipe: Path, tmp_path: Path, steps: Prepared, api: KubernetesApi, capfd: pytest.CaptureFixture[str]
) -> None:
    made = steps.train()
    log = capfd.readouterr().out
    rate = recipes.from_json(steps.recipe).fine_tuning.learning_rate
    here = Steps(recipe, tmp_path / "here", "fine_tuning.devices=2", f"fine_tuning.learning_rate={rate}")
    corpus = here.corpus()
    assert made.entries == here.tuned(corpus, here.pretrained(corpus)).entries
    assert steps.record("fine_tuning").metrics["devices"] == 2
    [job] = api.created
    assert job["spec"]["trainer"]["numNodes"] == 2
    assert job["spec"]["runtimeRef"]["name"] == "modelmill-torch"
    assert os.environ[SECRET] not in str(job), "credentials come from the runtime's Secret"
    assert "node-0: " in log and "fine_tuning 30/30" in log, "the nodes' log is the step's"
    assert not api.jobs, "no TrainJob outlives its step"


def test_what_a_node_says_is_wrong_is_one_line_of_the_step(tmp_path: Path, bucket: str, api: KubernetesApi) -> None:
    recipe = table_recipe(tmp_path, write_table(tmp_path / "data", rows=206))
    code, message = Prepared(recipe, tmp_path, bucket, "fine_tuning.nodes=2").train_fails()
    assert code == 2 and "batch_size: all: 2 devices cannot share" in message
    assert len(api.created) == 1 and not api.jobs


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
    assert code == 75 and "stopped by SIGTERM" in message and "is deleted" in message
    assert not api.jobs and len(api.deleted) == 1


def test_a_trainjob_that_an_earlier_attempt_left_running_is_joined(steps: Prepared, api: KubernetesApi) -> None:
    api.refuse = {("DELETE", "trainjobs"): 500}
    threading.Thread(target=terminate_once_created, args=(api,), daemon=True).start()
    assert steps.train_fails()[0] == 75
    api.refuse = {}
    assert len(api.jobs) == 1, "the API did not answer when it was to be deleted"
    steps.calls -= 1  # the same run, tried again
    assert steps.train().entries
    assert len(api.created) == 1, "no second one was made"
    assert not api.jobs


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
    assert not api.rivals and len(api.created) == 1 and not api.jobs


def test_one_of_ours_that_is_made_otherwise_is_replaced(steps: Prepared, api: KubernetesApi) -> None:
    api.rivals = [of_another_definition]
    assert steps.train().entries
    assert len(api.created) == len(api.deleted) == 2


def test_one_that_is_not_ours_is_refused_and_left_alone(steps: Prepared, api: KubernetesApi) -> None:
    api.rivals = [nobodys]
    code, message = steps.train_fails()
    assert code == 2 and "no step has made it; kubectl delete trainjob" in message
    assert len(api.jobs) == 1 and not api.deleted


def test_a_log_that_breaks_goes_on_where_it_broke(
    steps: Prepared, api: KubernetesApi, capfd: pytest.CaptureFixture[str]
) -> None:
    count = "import time\nfor n in range(40): print('line', n, flush=True); time.sleep(0.05)\nraise SystemExit(1)"
    api.replace, api.broken_streams = [[sys.executable, "-c", count]], 3
    steps.train()
    said = [line for line in capfd.readouterr().out.splitlines() if line.startswith("node-0: line ")]
    assert said == [f"node-0: line {n}" for n in range(40)] and not api.broken_streams


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
