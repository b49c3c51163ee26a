"""What must hold of everything that is applied to a cluster."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from tests.k8s.reachability import outside, reaches
from tests.k8s.rendered import K8S, OVERLAYS, Resource, containers, kustomize, named, of_kind, pods, render

pytestmark = pytest.mark.parametrize("overlay", OVERLAYS)
SECRET_NAME = re.compile(r"password|passwd|secret|token|access_?key|credential", re.IGNORECASE)
SECRET_IN_URI = re.compile(r"\w+://[^/\s:@]+:[^/\s@]+@")

STEP = {"workflows.argoproj.io/workflow": "python-lm-x7k2p"}
NODE = {"modelmill.dev/role": "training-node"}
TRIGGER = {"app.kubernetes.io/name": "modelmill-trigger"}
MLFLOW = {"app.kubernetes.io/name": "mlflow"}
BACKUP = {"app.kubernetes.io/name": "mlflow-backup"}
POSTGRES = {"app.kubernetes.io/name": "postgres"}
KFP_API = {"app": "ml-pipeline", "application-crd-id": "kubeflow-pipelines"}
MYSQL = {"app": "mysql", "application-crd-id": "kubeflow-pipelines"}
SEAWEEDFS = {"app": "seaweedfs", "application-crd-id": "kubeflow-pipelines"}
STRANGER = {"app": "someone-else"}
STEP_POLICY, KFP_POLICY = "api-server", "api-server-kfp"


def test_no_container_is_root_or_may_become_it(overlay: str) -> None:
    for name, container, pod in containers(overlay):
        security = {**pod["securityContext"], **container["securityContext"]}
        assert security["runAsNonRoot"] is True, name
        assert security["runAsUser"] > 10_000 and security["runAsGroup"] > 10_000, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert security["allowPrivilegeEscalation"] is False, name
        assert security["capabilities"] == {"drop": ["ALL"]}, name
        assert not security.get("privileged"), name


def test_every_root_file_system_is_read_only(overlay: str) -> None:
    for name, container, _ in containers(overlay):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True, name


def test_every_container_has_requests_and_limits(overlay: str) -> None:
    for name, container, _ in containers(overlay):
        for kind in ("requests", "limits"):
            assert {"cpu", "memory"} <= set(container["resources"][kind]), f"{name}: {kind}"


def test_nothing_of_the_node_is_mounted_or_shared(overlay: str) -> None:
    for name, template in pods(overlay):
        spec = template["spec"]
        assert not [volume for volume in spec.get("volumes", []) if "hostPath" in volume], name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), name
    for name, container, _ in containers(overlay):
        assert not [port for port in container.get("ports", []) if "hostPort" in port], name


def test_images_are_named_by_version_and_in_production_by_digest(overlay: str) -> None:
    for name, container, _ in containers(overlay):
        by_digest = re.search(r"@sha256:[0-9a-f]{64}$", container["image"])
        by_tag = re.search(r":[^/:]+$", container["image"])
        assert by_digest if overlay == "production" else by_tag, f"{name}: {container['image']}"
        assert not container["image"].endswith(":latest"), name


def test_no_secret_value_is_in_git(overlay: str) -> None:
    assert not of_kind(overlay, "Secret")
    for name, container, _ in containers(overlay):
        for variable in container.get("env", []):
            assert "value" not in variable or not SECRET_NAME.search(variable["name"]), f"{name}: {variable['name']}"
    for config in of_kind(overlay, "ConfigMap"):
        for key, value in config["data"].items():
            assert not SECRET_NAME.search(key) and not SECRET_IN_URI.search(value), (
                f"{config['metadata']['name']}.{key}"
            )
            assert not re.search(r"(?i)password\s*[=:]", value), f"{config['metadata']['name']}.{key}"


def test_roles_name_what_they_give(overlay: str) -> None:
    roles = of_kind(overlay, "Role", "ClusterRole")
    assert roles
    for role in roles:
        for rule in role["rules"]:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]], role["metadata"]["name"]
            if "secrets" in rule["resources"]:
                assert rule.get("resourceNames") and rule["verbs"] == ["get"], role["metadata"]["name"]
    assert not of_kind(overlay, "ClusterRoleBinding")


def test_who_has_no_role_has_no_token(overlay: str) -> None:
    bound = {subject["name"] for one in of_kind(overlay, "RoleBinding") for subject in one["subjects"]}
    accounts = {one["metadata"]["name"]: one for one in of_kind(overlay, "ServiceAccount")}
    assert bound == {"modelmill-pipeline"}
    for name, template in pods(overlay):
        spec = template["spec"]
        account = accounts[spec["serviceAccountName"]]
        if account["metadata"]["name"] not in bound:
            assert spec["automountServiceAccountToken"] is account["automountServiceAccountToken"] is False, name


def test_a_run_may_do_what_training_on_several_nodes_needs(overlay: str) -> None:
    rules = named(overlay, "Role", "modelmill-pipeline")["rules"]
    may = {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}
    assert {("trainjobs", verb) for verb in ("create", "get", "watch", "delete")} <= may
    assert {("pods/log", "get"), ("workflowtaskresults", "create"), ("workflowtaskresults", "patch")} <= may
    # The report says why a pod was killed or never made.
    assert {("pods", "list"), ("events", "list"), ("workflows", "list")} <= may
    assert not {one for one in may if one[0] == "workflows" and one[1] not in {"get", "list"}}
    assert not {one for one in may if one[0] in {"pods", "secrets", "configmaps"} and one[1] in {"create", "delete"}}


@pytest.mark.parametrize(
    "source, target, port",
    [
        (STEP, MLFLOW, 5000),
        (STEP, KFP_API, 8887),
        (STEP, SEAWEEDFS, 8333),
        (KFP_API, SEAWEEDFS, 8333),
        (SEAWEEDFS, TRIGGER, 8080),
        (NODE, NODE, 29500),
        (NODE, MLFLOW, 5000),
        (TRIGGER, KFP_API, 8888),
        (KFP_API, MLFLOW, 5000),
        (KFP_API, MYSQL, 3306),
    ],
)
def test_what_must_be_reached_is(overlay: str, source: dict[str, str], target: dict[str, str], port: int) -> None:
    assert reaches(of_kind(overlay, "NetworkPolicy"), source, target, port)


@pytest.mark.parametrize(
    "source, target, port",
    [
        (STRANGER, MLFLOW, 5000),
        (STRANGER, KFP_API, 8888),
        (STRANGER, STRANGER, 80),
        (STEP, STEP, 80),
        (STEP, POSTGRES, 5432),
        (STEP, MYSQL, 3306),
        (STEP, TRIGGER, 8080),
        (TRIGGER, POSTGRES, 5432),
        (TRIGGER, STEP, 80),
        (NODE, KFP_API, 8888),
        (BACKUP, MLFLOW, 5000),
        (MLFLOW, STEP, 80),
    ],
)
def test_nothing_else_is(overlay: str, source: dict[str, str], target: dict[str, str], port: int) -> None:
    assert not reaches(of_kind(overlay, "NetworkPolicy"), source, target, port)


def test_the_store_and_the_database_are_reached_where_they_are(overlay: str) -> None:
    policies = of_kind(overlay, "NetworkPolicy")
    for source in (STEP, NODE, MLFLOW, BACKUP, TRIGGER):
        reached = {block for one in policies for block in outside(one, source)}
        if overlay == "production":
            assert ("0.0.0.0/0", 443) in reached
            assert {cidr for cidr, port in reached if port == 5432} <= {"10.0.128.0/20"}
        else:
            assert reaches(policies, source, SEAWEEDFS, 8333)
            assert "0.0.0.0/0" not in {cidr for cidr, _ in reached}
    for source in (MLFLOW, BACKUP):
        assert reaches(policies, source, POSTGRES, 5432) is (overlay != "production")
    for source in (STEP, KFP_API):
        assert ("10.0.0.0/8", 6443) in {block for one in policies for block in outside(one, source)}


def test_names_are_resolved_by_the_cluster_and_by_its_caches(overlay: str) -> None:
    (rule,) = named(overlay, "NetworkPolicy", "dns")["spec"]["egress"]
    assert {(one["protocol"], one["port"]) for one in rule["ports"]} == {("UDP", 53), ("TCP", 53)}
    assert {one["ipBlock"]["cidr"] for one in rule["to"] if "ipBlock" in one} == {"169.254.20.10/32"}
    assert [one for one in rule["to"] if "namespaceSelector" in one]


def test_where_the_api_server_is_is_a_setting_of_the_overlay(overlay: str, tmp_path: Path) -> None:
    """Both policies have the same, and a copy of the production overlay has addresses of its own."""
    ranges = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"}
    assert api_server_addresses(of_kind(overlay, "NetworkPolicy")) == {STEP_POLICY: ranges, KFP_POLICY: ranges}
    if overlay == "production":
        copied = tmp_path / "k8s" / "overlays" / "mine"
        shutil.copytree(K8S / "base", tmp_path / "k8s" / "base")
        shutil.copytree(K8S / "overlays" / overlay, copied)
        settings = copied / "api-server-addresses.yaml"
        document = yaml.safe_load(settings.read_text())
        document[0]["value"] = [{"ipBlock": {"cidr": "100.64.0.0/10"}}]
        settings.write_text(yaml.safe_dump(document))
        policies = [one for one in kustomize(copied) if one["kind"] == "NetworkPolicy"]
        assert api_server_addresses(policies) == {STEP_POLICY: {"100.64.0.0/10"}, KFP_POLICY: {"100.64.0.0/10"}}


def api_server_addresses(policies: list[Resource]) -> dict[str, set[str]]:
    return {
        one["metadata"]["name"]: {peer["ipBlock"]["cidr"] for rule in one["spec"]["egress"] for peer in rule["to"]}
        for one in policies
        if one["metadata"]["name"] in {STEP_POLICY, KFP_POLICY}
    }


def test_no_network_rule_is_for_everyone(overlay: str) -> None:
    policies = of_kind(overlay, "NetworkPolicy")
    (deny,) = [one for one in policies if one["metadata"]["name"] == "default-deny"]
    assert deny["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for policy in policies:
        for rule in policy["spec"].get("egress", []):
            assert rule.get("to"), policy["metadata"]["name"]
        for rule in policy["spec"].get("ingress", []):
            assert rule.get("from"), policy["metadata"]["name"]


def test_the_namespace_refuses_pods_that_are_not_restricted(overlay: str) -> None:
    labels = named(overlay, "Namespace", "modelmill")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    elsewhere = [one for one in render(overlay) if one["metadata"].get("namespace", "modelmill") != "modelmill"]
    assert not elsewhere


def test_the_namespace_has_bounds(overlay: str) -> None:
    hard = named(overlay, "ResourceQuota", "modelmill")["spec"]["hard"]
    assert {"requests.cpu", "requests.memory", "limits.memory", "requests.nvidia.com/gpu", "pods"} <= set(hard)
    assert hard["services.loadbalancers"] == hard["services.nodeports"] == "0"
    (limit,) = named(overlay, "LimitRange", "modelmill")["spec"]["limits"]
    assert {"cpu", "memory"} <= set(limit["default"]) and {"cpu", "memory"} <= set(limit["defaultRequest"])


def test_servers_are_probed_and_mlflow_survives_a_drain(overlay: str) -> None:
    for server in of_kind(overlay, "Deployment", "StatefulSet"):
        for container in server["spec"]["template"]["spec"]["containers"]:
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container), container["name"]
    budget = named(overlay, "PodDisruptionBudget", "mlflow")["spec"]
    deployment = named(overlay, "Deployment", "mlflow")["spec"]
    assert budget["selector"] == deployment["selector"]
    # A budget that allows no disruption would hold up every drain for ever.
    assert budget["minAvailable"] < deployment["replicas"]
