"""What runs need of Kubernetes, checked one by one where its API server can be asked from here."""

import functools
from collections.abc import Callable
from typing import Any

import yaml

from modelmill.core.errors import ModelmillError, UserError
from modelmill.pipelines.cluster.api_server import ApiServer
from modelmill.pipelines.cluster.settings import Cluster

Check = Callable[[], str]
# What the images of steps have; k8s/kfp/workflow-controller.yaml runs it before a pod is ended.
HOOK = ["python", "-m", "modelmill.runtime.preemption"]
# Kubernetes' own, too short for a checkpoint.
_LEAST_GRACE_SECONDS = 31
_POLICIES = {
    "modelmill-priority": "runs have no priority, and a full cluster evicts any of them first",
    "modelmill-drivers": "a full cluster evicts drivers first, whatever the run's priority",
    "modelmill-grace": "the grace of a profile is not heeded",
}
_KIND = "mutatingadmissionpolicies"
_CONFIG = "workflow-controller-configmap"


def checks_of(cluster: Cluster) -> tuple[dict[str, Check], ApiServer | None]:
    """Return the checks in order, by name, and the API server if it answers.

    Args:
        cluster: The cluster.
    """
    try:
        api = ApiServer()
        version = api.get("/version") or {}
    except ModelmillError as error:
        reason = str(error)
        return {"kubernetes": lambda: f"not checked: {reason}"}, None
    return {
        "kubernetes": functools.partial(_namespace, api, cluster, version),
        "policies": functools.partial(_policies, api, version),
        "workflows": functools.partial(_workflows, api, cluster),
    }, api


def require_kfp(api: ApiServer, cluster: Cluster) -> None:
    """Check that this is the cluster that is meant: its namespace has KFP's workflow controller.

    Args:
        api: API server that a kubeconfig names.
        cluster: The cluster.

    Raises:
        UserError: It is another one, or may not be read.
    """
    if _config_of(api, cluster) is None:
        raise UserError(
            f"{api.name}: namespace {cluster.kfp.namespace} has no ConfigMap {_CONFIG}; is it another cluster? "
            "KUBECONFIG, or kubectl config use-context, chooses"
        )


def _namespace(api: ApiServer, cluster: Cluster, version: dict[str, Any]) -> str:
    require_kfp(api, cluster)
    return f"{api.name}: Kubernetes {_short(version)}, and KFP in namespace {cluster.kfp.namespace}"


def _policies(api: ApiServer, version: dict[str, Any]) -> str:
    """Check that the admission policies of k8s/base are there, in a version that this API server has."""
    served = [name for name in ("v1", "v1beta1") if _serves(api, name)]
    if not served:
        raise UserError(
            f"Kubernetes {_short(version)} has no MutatingAdmissionPolicy (1.36 has v1; 1.34 has v1beta1 with the "
            f"feature gate MutatingAdmissionPolicy and runtime-config admissionregistration.k8s.io/v1beta1=true): "
            f"{'; '.join(_POLICIES.values())}"
        )
    base = f"/apis/admissionregistration.k8s.io/{served[0]}/{_KIND}"
    lost = [f"{name} is not there: {what}" for name, what in _POLICIES.items() if api.get(f"{base}/{name}") is None]
    if lost:
        raise UserError(f"{'; '.join(lost)}; k8s/install applies them")
    return f"{', '.join(_POLICIES)} ({served[0]})"


def _serves(api: ApiServer, version: str) -> bool:
    listed = api.get(f"/apis/admissionregistration.k8s.io/{version}") or {}
    return _KIND in {one["name"] for one in listed.get("resources", [])}


def _workflows(api: ApiServer, cluster: Cluster) -> str:
    """Check what Argo gives every pod of a run, and say what is lost without."""
    spec = _mapping((_config_of(api, cluster) or {}).get("workflowDefaults")).get("spec") or {}
    patch = _mapping(spec.get("podSpecPatch"))
    main: dict[str, Any] = next((one for one in patch.get("containers") or [] if one.get("name") == "main"), {})
    retry = (spec.get("templateDefaults") or {}).get("retryStrategy") or {}
    hook = ((main.get("lifecycle") or {}).get("preStop") or {}).get("exec") or {}
    grace = int(patch.get("terminationGracePeriodSeconds") or 30)
    holds = {
        "no preStop hook: a preempted or cancelled step does not save, and goes on from its last periodic checkpoint": (
            hook.get("command") == HOOK
        ),
        f"terminationGracePeriodSeconds is {grace}: a step is killed before it has saved": grace
        >= _LEAST_GRACE_SECONDS,
        "no readOnlyRootFilesystem: a step can write into its image's files": (
            (main.get("securityContext") or {}).get("readOnlyRootFilesystem") is True
        ),
        "retryPolicy is not Always: a step that failed or was preempted is not tried again": (
            retry.get("retryPolicy") == "Always"
        ),
        "limit of retries is 0: a driver that fails ends the run": str(retry.get("limit", "0")) != "0",
    }
    if lost := [what for what, held in holds.items() if not held]:
        raise UserError(f"ConfigMap {_CONFIG}, workflowDefaults: {'; '.join(lost)}; k8s/kfp has what is missing")
    return f"steps save when they are ended, {grace} s; root read-only; drivers are retried"


def _config_of(api: ApiServer, cluster: Cluster) -> dict[str, str] | None:
    found = api.get(f"/api/v1/namespaces/{cluster.kfp.namespace}/configmaps/{_CONFIG}")
    return None if found is None else found.get("data") or {}


def _mapping(text: Any) -> dict[str, Any]:
    """Return a YAML text's mapping, empty if it is none."""
    try:
        read = yaml.safe_load(str(text or ""))
    except yaml.YAMLError:
        return {}
    return read if isinstance(read, dict) else {}


def _short(version: dict[str, Any]) -> str:
    return f"{version.get('major', '?')}.{version.get('minor', '?')}"
