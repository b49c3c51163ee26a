"""A pod as a step's, which says what it reaches from inside a cluster: store, MLflow, DNS and the API server."""

import contextlib
import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

from modelmill.core.errors import ModelmillError
from modelmill.pipelines.cluster import buckets, placement, reach
from modelmill.pipelines.cluster import profiles as profile_files
from modelmill.pipelines.cluster.api_server import ApiServer
from modelmill.pipelines.cluster.profiles import Profile
from modelmill.pipelines.cluster.settings import Cluster

# Pulling an image takes most of it.
START_SECONDS, RUN_SECONDS, PAUSE_SECONDS = 180.0, 180.0, 1.0
# The step whose image has what asks MLflow, and the smallest one.
_STEP = "registration"
_PROGRAM = ["python", "-m", "modelmill.runtime.inside"]


def findings(cluster: Cluster, api: ApiServer) -> Iterator[tuple[str, bool, str]]:
    """Run the pod, and yield what it found: a name, whether it holds, and what it says.

    Args:
        cluster: The cluster.
        api: Its API server.

    Raises:
        UserError: The pod is refused, or the cluster file's addresses are this machine's.
        ModelmillError: It does not start, or does not end.
    """
    reach.require_seen_by_steps(cluster)
    pod = pod_of(cluster, buckets.of(cluster, api))
    collection = f"/api/v1/namespaces/{cluster.kfp.namespace}/pods"
    path = f"{collection}/{pod['metadata']['name']}"
    api.create(collection, pod)
    try:
        log = _log_of(api, path)
    finally:
        # What failed before is what is said.
        with contextlib.suppress(ModelmillError):
            api.delete(path)
    for line in log.splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            found = json.loads(line)
            yield f"inside: {found['name']}", bool(found["ok"]), str(found["message"])


def pod_of(cluster: Cluster, names: list[str]) -> dict[str, Any]:
    """Return the pod: image, environment, Secrets, account, user and network of a step that asks for nothing.

    Args:
        cluster: The cluster.
        names: Names of the buckets that it writes to.
    """
    profiles = profile_files.load(cluster.profiles)
    profile = profiles.profiles[profiles.default] if profiles.default else Profile()
    image = placement.image_of(_STEP, profile.model_copy(update={"accelerator": None}), cluster)
    environment: list[dict[str, Any]] = [
        {"name": name, "value": value} for name, value in placement.environment_of(image, cluster).items()
    ]
    environment += [{"name": "MODELMILL_NAMESPACE", "value": cluster.kfp.namespace}, {"name": "HOME", "value": "/tmp"}]
    environment += [
        {"name": key, "valueFrom": {"secretKeyRef": {"name": secret, "key": key, "optional": True}}}
        for secret, keys in placement.secrets_of(_STEP, cluster)
        for key in keys
    ]
    name = f"modelmill-doctor-{uuid.uuid4().hex[:8]}"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        # NetworkPolicies know a run's pods by Argo's label.
        "metadata": {"name": name, "labels": {"workflows.argoproj.io/workflow": name}},
        "spec": {
            "serviceAccountName": cluster.kfp.service_account,
            "restartPolicy": "Never",
            "activeDeadlineSeconds": int(START_SECONDS + RUN_SECONDS),
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": placement.USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "nodeSelector": profile.node_selector,
            "tolerations": [one.model_dump(exclude_none=True) for one in profile.tolerations],
            "containers": [
                {
                    "name": "main",
                    "image": image,
                    "command": [*_PROGRAM, cluster.store, *names],
                    "env": environment,
                    "resources": {
                        "requests": {"cpu": "100m", "memory": "256Mi"},
                        "limits": {"cpu": "1", "memory": "1Gi"},
                    },
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                }
            ],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    }


def _log_of(api: ApiServer, path: str) -> str:
    """Return what the pod has written, once it has ended."""
    started, limit = time.monotonic(), START_SECONDS
    while True:
        status = (api.get(path) or {}).get("status") or {}
        phase = status.get("phase")
        if phase in {"Succeeded", "Failed"}:
            break
        if phase == "Running":
            limit = START_SECONDS + RUN_SECONDS
        if time.monotonic() - started > limit:
            raise ModelmillError(f"the pod does not {'end' if phase == 'Running' else 'start'}: {_waits_for(status)}")
        time.sleep(PAUSE_SECONDS)
    log = api.text(f"{path}/log")
    if phase == "Failed":
        last = log.strip().splitlines()[-1] if log.strip() else ""
        raise ModelmillError(f"the pod failed: {last or _waits_for(status)}; is it the image of this version?")
    return log


def _waits_for(status: dict[str, Any]) -> str:
    """Return what a pod's status says of why it does not go on."""
    for container in status.get("containerStatuses") or []:
        for state in (container.get("state") or {}).values():
            if state.get("reason"):
                return f"{state['reason']}: {state.get('message', '')}".rstrip(": ")
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"{condition.get('reason', '')}: {condition.get('message', '')}".strip(": ")
    return str(status.get("message") or status.get("reason") or "its status does not say why")
