"""`modelmill doctor --cluster` asks Kubernetes, too: versions, policies, what Argo gives pods, and a pod's findings."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelmill.core.errors import UserError
from modelmill.pipelines.cluster import inside, needed_versions
from tests import kfp_cluster, kubernetes_api, seaweedfs
from tests.kfp_cluster import Done, write_cluster
from tests.kfp_server import KfpServer
from tests.kubernetes_api import KubernetesApi
from tests.mlflow_server import MlflowServer
from tests.seaweedfs import SeaweedFS

ROOT = Path(__file__).parents[2]
MAPS = "/api/v1/namespaces/mill/configmaps"
GROUP = "/apis/admissionregistration.k8s.io"
POLICIES = ("modelmill-priority", "modelmill-drivers", "modelmill-grace")
# As the cluster file of these tests knows them.
STORE, MLFLOW = "http://seaweedfs.invalid:8333", "http://mlflow.mill:5000"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kfp_cluster.isolate(monkeypatch, tmp_path)


@pytest.fixture
def kubernetes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: None) -> Iterator[KubernetesApi]:
    """A cluster as k8s/install leaves it, with Kubernetes 1.36, which KUBECONFIG names."""
    folder = tmp_path / "kubernetes"
    folder.mkdir()
    with kubernetes_api.running(folder, {}) as api:
        api.objects["/version"] = {"major": "1", "minor": "36", "gitVersion": "v1.36.1"}
        controller = yaml.safe_load((ROOT / "k8s" / "kfp" / "workflow-controller.yaml").read_text())
        api.objects[f"{MAPS}/workflow-controller-configmap"] = controller
        serve_policies(api, "v1")
        monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig))
        yield api


def serve_policies(api: KubernetesApi, version: str, names: tuple[str, ...] = POLICIES) -> None:
    """Let the API server have the kind of policies in one version, and these policies."""
    for path in [one for one in api.objects if one.startswith(GROUP)]:
        del api.objects[path]
    api.objects[f"{GROUP}/v1"] = {"resources": [{"name": "validatingadmissionpolicies"}]}
    api.objects[f"{GROUP}/{version}"] = {"resources": [{"name": "mutatingadmissionpolicies"}]}
    for name in names:
        api.objects[f"{GROUP}/{version}/mutatingadmissionpolicies/{name}"] = {"metadata": {"name": name}}


def examined(call: Callable[..., Done], cluster: Path, *options: str) -> dict[str, dict[str, Any]]:
    done = call("doctor", "--cluster", cluster, "--json", *options)
    return {one["name"]: one for one in json.loads(done.out)["findings"]}


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_what_k8s_installs_is_well(
    kfp: KfpServer, kubernetes: KubernetesApi, call: Callable[..., Done], tmp_path: Path, version: str
) -> None:
    serve_policies(kubernetes, version)
    found = examined(call, write_cluster(tmp_path, kfp.url))
    assert found["kubernetes"]["ok"] and "stub: Kubernetes 1.36" in found["kubernetes"]["message"]
    assert found["policies"]["ok"] and f"({version})" in found["policies"]["message"]
    assert found["workflows"]["ok"], found["workflows"]
    assert not kubernetes.created and not kubernetes.run_pods_created, "a doctor changes nothing"


def change(text: str, *keys: str, to: Any) -> str:
    """A ConfigMap's YAML value with one key, which may lie in a text of YAML itself, set or (None) removed."""
    document = yaml.safe_load(text)
    inner = document
    for at, key in enumerate(keys[:-1]):
        if key == "podSpecPatch":
            inner[key] = change(inner[key], *keys[at + 1 :], to=to)
            return yaml.safe_dump(document)
        inner = inner[int(key)] if isinstance(inner, list) else inner[key]
    if to is None:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = to
    return yaml.safe_dump(document)


@pytest.mark.parametrize(
    ("keys", "to", "said"),
    [
        (("podSpecPatch",), None, "a preempted or cancelled step does not save"),
        (("podSpecPatch", "containers", "0", "lifecycle"), None, "a preempted or cancelled step does not save"),
        (("podSpecPatch", "terminationGracePeriodSeconds"), 30, "terminationGracePeriodSeconds is 30"),
        (("podSpecPatch", "containers", "0", "securityContext"), {}, "a step can write into its image's files"),
        (("templateDefaults", "retryStrategy", "limit"), "0", "a driver that fails ends the run"),
        (("templateDefaults", "retryStrategy", "retryPolicy"), "OnError", "is not tried again"),
    ],
)
def test_what_argo_lacks_is_named_with_what_is_lost(
    kfp: KfpServer,
    kubernetes: KubernetesApi,
    call: Callable[..., Done],
    tmp_path: Path,
    keys: tuple[str, ...],
    to: Any,
    said: str,
) -> None:
    config = copy.deepcopy(kubernetes.objects[f"{MAPS}/workflow-controller-configmap"])
    config["data"]["workflowDefaults"] = change(config["data"]["workflowDefaults"], "spec", *keys, to=to)
    kubernetes.objects[f"{MAPS}/workflow-controller-configmap"] = config
    found = examined(call, write_cluster(tmp_path, kfp.url))["workflows"]
    assert not found["ok"] and said in found["message"]


def test_policies_that_are_not_there_are_named_with_what_is_lost(
    kfp: KfpServer, kubernetes: KubernetesApi, call: Callable[..., Done], tmp_path: Path
) -> None:
    cluster = write_cluster(tmp_path, kfp.url)
    serve_policies(kubernetes, "v1", POLICIES[:1])
    found = examined(call, cluster)["policies"]
    assert not found["ok"] and "modelmill-drivers is not there: a full cluster evicts drivers" in found["message"]
    assert "modelmill-priority" not in found["message"]
    kubernetes.objects["/version"] = {"major": "1", "minor": "33"}
    serve_policies(kubernetes, "v1alpha1")
    found = examined(call, cluster)["policies"]
    assert not found["ok"] and "Kubernetes 1.33 has no MutatingAdmissionPolicy (1.36 has v1" in found["message"]


def test_another_cluster_is_told_and_one_that_is_away_is_no_mistake(
    kfp: KfpServer, kubernetes: KubernetesApi, call: Callable[..., Done], tmp_path: Path
) -> None:
    cluster = write_cluster(tmp_path, kfp.url)
    kubernetes.refuse["GET", "configmaps"] = 403
    assert "403" in examined(call, cluster)["kubernetes"]["message"]
    kubernetes.refuse.clear()
    del kubernetes.objects[f"{MAPS}/workflow-controller-configmap"]
    found = examined(call, cluster, "--from-inside")
    for name in ("kubernetes", "inside"):
        assert not found[name]["ok"] and "is it another cluster?" in found[name]["message"]
    assert not kubernetes.run_pods_created, "nothing is started in a stranger's cluster"
    kubernetes.port = 1
    assert kubernetes.kubeconfig.exists()
    found = examined(call, cluster)
    assert found["kubernetes"]["ok"] and "not checked" in found["kubernetes"]["message"]
    assert "policies" not in found and "workflows" not in found


@pytest.mark.parametrize(
    ("version", "lost"),
    [
        ("2.14.3", ["secretAsEnv.optional", "securityContext", "propagation_policy"]),
        ("v2.15.0", ["securityContext", "propagation_policy"]),
        ("2.16.0", []),
        ("unknown", []),
    ],
)
def test_a_kfp_that_drops_fields_is_refused_with_their_names(version: str, lost: list[str]) -> None:
    if not lost:
        return needed_versions.require_known(version)
    with pytest.raises(UserError) as caught:
        needed_versions.require_known(version)
    every = {"secretAsEnv.optional", "securityContext", "propagation_policy"}
    assert [one for one in sorted(every) if one in str(caught.value)] == sorted(lost)


def test_doctor_refuses_an_old_kfp(kfp: KfpServer, call: Callable[..., Done], tmp_path: Path) -> None:
    kfp.tag_name = "2.15.0"
    found = examined(call, write_cluster(tmp_path, kfp.url))["version"]
    assert not found["ok"] and "securityContext" in found["message"]


@pytest.fixture(scope="module")
def full() -> Iterator[SeaweedFS]:
    """A store with the 8 volumes of SeaweedFS's default, all of which its first two buckets have."""
    with seaweedfs.running(as_kfp_with=8) as server:
        server.create_bucket("models")
        server.client().put_object(Bucket="models", Key="weights", Body=bytes(1 << 16))
        yield server


def name_buckets(api: KubernetesApi) -> None:
    """The ConfigMaps that name buckets, as the namespace has them."""
    api.objects[f"{MAPS}/kfp-launcher"] = {"data": {"defaultPipelineRoot": "s3://models/kfp"}}
    api.objects[f"{MAPS}/modelmill-mlflow"] = {"data": {"MLFLOW_DEFAULT_ARTIFACT_ROOT": "s3://models/mlflow"}}
    api.objects[f"{MAPS}/modelmill-backup"] = {"data": {"BUCKET": "backups"}}


def test_every_bucket_is_written_to(
    kfp: KfpServer,
    kubernetes: KubernetesApi,
    seaweedfs: SeaweedFS,
    call: Callable[..., Done],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in seaweedfs.env.items():
        monkeypatch.setenv(name, value)
    name_buckets(kubernetes)
    for bucket in ("models", "mlpipeline"):
        if bucket not in seaweedfs.buckets():
            seaweedfs.create_bucket(bucket)
    cluster = write_cluster(tmp_path, kfp.url, "s3://models/mill")
    found = examined(call, cluster)["buckets"]
    assert not found["ok"] and "has no bucket backups" in found["message"]
    assert "models:" not in found["message"] and "mlpipeline:" not in found["message"]
    seaweedfs.create_bucket("backups")
    found = examined(call, cluster)["buckets"]
    assert found == {"name": "buckets", "ok": True, "message": "written: models, backups, mlpipeline"}
    for name in ("models", "backups", "mlpipeline"):
        assert not seaweedfs.client().list_objects_v2(Bucket=name, Prefix="modelmill-doctor").get("Contents")


def test_a_store_without_room_for_a_second_bucket_is_told(
    kfp: KfpServer,
    full: SeaweedFS,
    kubernetes: KubernetesApi,
    call: Callable[..., Done],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in full.env.items():
        monkeypatch.setenv(name, value)
    full.create_bucket("mlpipeline")
    found = examined(call, write_cluster(tmp_path, kfp.url, "s3://models/mill"))["buckets"]
    assert not found["ok"] and "mlpipeline: " in found["message"] and "-volume.max" in found["message"]
    assert "models: " not in found["message"]


@pytest.fixture
def reached(
    kubernetes: KubernetesApi, seaweedfs: SeaweedFS, mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> KubernetesApi:
    """The cluster's store and MLflow, which only pods reach."""
    kubernetes.environment = {
        name: value for name, value in seaweedfs.env.items() if name.endswith(("_KEY_ID", "_ACCESS_KEY"))
    }
    kubernetes.addresses = {STORE: seaweedfs.endpoint, MLFLOW: mlflow_server.uri}
    monkeypatch.setattr(inside, "PAUSE_SECONDS", 0.2)
    return kubernetes


def test_a_pod_says_what_a_step_reaches(
    kfp: KfpServer, reached: KubernetesApi, seaweedfs: SeaweedFS, call: Callable[..., Done], tmp_path: Path
) -> None:
    if "inner" not in seaweedfs.buckets():
        seaweedfs.create_bucket("inner")
    reached.objects[f"{MAPS}/workflow-controller-configmap"]["data"].pop("artifactRepository")
    cluster = write_cluster(tmp_path, kfp.url, "s3://inner/mill")
    found = {name: one for name, one in examined(call, cluster, "--from-inside").items() if name.startswith("inside")}
    names = ["dns", "store", "bucket inner", "mlflow", "api server"]
    assert list(found) == [f"inside: {name}" for name in names]
    assert all(one["ok"] for one in found.values()), found
    assert "conditional writes hold" in found["inside: store"]["message"]
    (pod,) = reached.run_pods_created
    assert not reached.run_pods, "the pod is gone"
    assert_restricted(pod.document["spec"])
    # NetworkPolicies know a run's pods by this label, and its account is a run's.
    assert "workflows.argoproj.io/workflow" in pod.document["metadata"]["labels"]
    assert pod.document["spec"]["serviceAccountName"] == "modelmill-pipeline"


def assert_restricted(spec: dict[str, Any]) -> None:
    """As Pod Security `restricted` asks."""
    (container,) = spec["containers"]
    security = {**spec["securityContext"], **container["securityContext"]}
    assert security["runAsNonRoot"] and security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert security["allowPrivilegeEscalation"] is False and security["capabilities"] == {"drop": ["ALL"]}


def test_a_pod_says_what_a_step_does_not_reach(
    kfp: KfpServer, reached: KubernetesApi, call: Callable[..., Done], tmp_path: Path
) -> None:
    del reached.addresses[MLFLOW]
    reached.environment["AWS_SECRET_ACCESS_KEY"] = "another"
    cluster = write_cluster(tmp_path, kfp.url, "s3://inner/mill")
    found = examined(call, cluster, "--from-inside")
    assert "mlflow.mill is not resolved" in found["inside: dns"]["message"]
    assert "refuses the credentials" in found["inside: store"]["message"]
    assert not found["inside: mlflow"]["ok"]
    assert found["inside: api server"]["ok"]


def test_a_pod_that_does_not_start_is_told_with_the_reason(
    kfp: KfpServer, reached: KubernetesApi, call: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inside, "START_SECONDS", 0.3)
    cluster = write_cluster(tmp_path, kfp.url)
    waiting = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "registry/registration:0.1.0"'}
    reached.waits = {"containerStatuses": [{"name": "main", "state": {"waiting": waiting}}]}
    found = examined(call, cluster, "--from-inside")["inside"]
    assert not found["ok"] and 'does not start: ImagePullBackOff: Back-off pulling image "reg' in found["message"]
    no_room = "0/1 nodes are available: 1 Insufficient cpu."
    reached.waits = {
        "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": no_room}]
    }
    assert no_room in examined(call, cluster, "--from-inside")["inside"]["message"]
    assert not reached.run_pods, "the pods are gone"
    reached.refuse["POST", "pods"] = 403
    found = examined(call, cluster, "--from-inside")["inside"]
    assert not found["ok"] and "POST /api/v1/namespaces/mill/pods: 403" in found["message"]


def test_from_inside_needs_a_cluster(call: Callable[..., Done]) -> None:
    done = call("doctor", "--from-inside")
    assert (done.code, done.out) == (2, "")
    assert "name its file with --cluster FILE" in done.err
