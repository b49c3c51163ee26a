"""What Argo gives the pods of a run: time to save, a read-only root, retries, and a priority."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from modelmill.pipelines.cluster.kubernetes_checks import HOOK
from tests.k8s.reachability import selects
from tests.k8s.rendered import BIN, kfp, named, of_kind

KUBERNETES = "1.37"
# As Argo makes them, without what the patch leaves alone: a driver, and a step before KFP's driver has patched it.
DRIVER = {
    "containers": [
        {
            "name": "wait",
            "image": "quay.io/argoproj/argoexec:v4.0.5",
            "volumeMounts": [{"mountPath": "/tmp", "name": "tmp-dir-argo", "subPath": "0"}],
        },
        {
            "name": "main",
            "image": "ghcr.io/kubeflow/kfp-driver:2.17.0",
            "securityContext": {"allowPrivilegeEscalation": False, "runAsNonRoot": True},
            "volumeMounts": [{"mountPath": "/var/run/argo", "name": "var-run-argo"}],
        },
    ],
    "volumes": [{"name": "var-run-argo", "emptyDir": {}}, {"name": "tmp-dir-argo", "emptyDir": {}}],
}
# What KFP's driver says of a step of ours: an empty folder at /tmp, and its user.
FROM_DRIVER = {
    "containers": [
        {
            "name": "main",
            "securityContext": {"runAsUser": 10001, "runAsNonRoot": True},
            "volumeMounts": [{"mountPath": "/tmp", "name": "tmp"}],
        }
    ],
    "volumes": [{"name": "tmp", "emptyDir": {}}],
}


def defaults() -> dict[str, Any]:
    """What every Workflow gets, as KFP's ConfigMap has it once it is installed."""
    (config,) = [one for one in kfp() if one["metadata"]["name"] == "workflow-controller-configmap"]
    return yaml.safe_load(config["data"]["workflowDefaults"])["spec"]


def patched(spec: dict[str, Any], folder: Path, *patches: dict[str, Any]) -> dict[str, Any]:
    """A pod's spec after strategic merge patches, which Argo does with the same code as kubectl."""
    file = folder / "pod.json"
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": spec}
    for patch in patches:
        file.write_text(json.dumps(pod))
        words = ["patch", "--local", "-f", file, "--type", "strategic", "-p", json.dumps({"spec": patch}), "-o", "json"]
        done = subprocess.run([BIN / "kubectl", *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        pod = json.loads(done.stdout)
    kubernetes_validate.validate(pod, KUBERNETES, strict=True)
    return pod["spec"]


def main_of(spec: dict[str, Any]) -> dict[str, Any]:
    (container,) = [one for one in spec["containers"] if one["name"] == "main"]
    return container


def mounts(container: dict[str, Any]) -> dict[str, str]:
    paths = [one["mountPath"] for one in container["volumeMounts"]]
    assert len(paths) == len(set(paths)), "a path is mounted twice"
    return {one["mountPath"]: one["name"] for one in container["volumeMounts"]}


def test_a_driver_gets_a_read_only_root_and_a_folder_to_write_to(tmp_path: Path) -> None:
    spec = patched(DRIVER, tmp_path, yaml.safe_load(defaults()["podSpecPatch"]))
    main = main_of(spec)
    assert main["securityContext"]["readOnlyRootFilesystem"] is True
    assert main["securityContext"]["allowPrivilegeEscalation"] is False, "what it had is kept"
    volume = mounts(main)["/tmp"]
    assert {"name": volume, "emptyDir": {}} in spec["volumes"]
    # Argo's own container keeps its own.
    (wait,) = [one for one in spec["containers"] if one["name"] == "wait"]
    assert wait == DRIVER["containers"][0]


def test_a_step_keeps_its_own_folder_and_is_asked_to_save_before_it_is_ended(tmp_path: Path) -> None:
    spec = patched(DRIVER, tmp_path, yaml.safe_load(defaults()["podSpecPatch"]), FROM_DRIVER)
    main = main_of(spec)
    assert mounts(main)["/tmp"] == "tmp"
    assert main["securityContext"]["readOnlyRootFilesystem"] is True and main["securityContext"]["runAsUser"] == 10001
    assert main["lifecycle"]["preStop"] == {"exec": {"command": HOOK}}
    assert HOOK == ["python", "-m", "modelmill.runtime.preemption"]
    # Longer than Kubernetes' own 30 s, in which no large checkpoint is written.
    assert spec["terminationGracePeriodSeconds"] >= 120
    # The hook is told how long it has.
    grace = {"name": "MODELMILL_GRACE_SECONDS", "value": str(spec["terminationGracePeriodSeconds"])}
    assert grace in main["env"]


def test_a_preempted_pod_and_a_driver_are_tried_again_and_a_dag_is_not() -> None:
    retry = defaults()["templateDefaults"]["retryStrategy"]
    assert retry["retryPolicy"] == "Always"
    # A step brings its own limit; this one is that of drivers.
    assert int(retry["limit"]) > 0
    # Of DAGs too, but for the expression: attempts of a step would multiply with those of the DAGs around it. What
    # Argo says of a node that failed, as recorded: a pod has a message, a DAG has none.
    assert 'lastRetry.message != ""' in retry["expression"].split(" && ")


def test_a_profile_can_give_its_steps_more_time_to_save() -> None:
    policy = named("kind", "MutatingAdmissionPolicy", "modelmill-grace")["spec"]
    expression = policy["mutations"][0]["applyConfiguration"]["expression"]
    assert 'terminationGracePeriodSeconds: int(object.metadata.labels["modelmill.dev/grace"])' in expression
    chooses = policy["matchConstraints"]["objectSelector"]
    assert selects(chooses, {"modelmill.dev/grace": "600"}) and not selects(
        chooses, {"modelmill.dev/step": "evaluation"}
    )


def test_pods_between_steps_are_not_evicted_before_steps() -> None:
    policy = named("kind", "MutatingAdmissionPolicy", "modelmill-drivers")["spec"]
    chooses = policy["matchConstraints"]["objectSelector"]
    workflow = {"workflows.argoproj.io/workflow": "tabular-mlp-bcvz5", "pipeline/runid": "03ab"}
    assert selects(chooses, workflow)
    assert not selects(chooses, workflow | {"modelmill.dev/priority": "modelmill-scheduled"}), "a step has its own"
    assert not selects(chooses, {"app": "ml-pipeline"})
    classes = {one["metadata"]["name"]: one for one in of_kind("kind", "PriorityClass")}
    given = classes["modelmill-drivers"]
    assert given["value"] >= max(one["value"] for one in classes.values())
    expression = policy["mutations"][0]["applyConfiguration"]["expression"]
    assert re.findall(r'"([^"]+)"', expression) == ["modelmill-drivers", given["preemptionPolicy"]]
    assert f"priority: {given['value']}" in expression


@pytest.mark.parametrize("name", ["modelmill-priority", "modelmill-drivers", "modelmill-grace"])
def test_every_policy_is_bound_to_the_namespace_alone(name: str) -> None:
    policy = named("kind", "MutatingAdmissionPolicy", name)["spec"]
    where = policy["matchConstraints"]["namespaceSelector"]["matchLabels"]
    assert where == {"kubernetes.io/metadata.name": "modelmill"}
    assert named("kind", "MutatingAdmissionPolicyBinding", name)["spec"]["policyName"] == name
