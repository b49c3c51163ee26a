"""The Workflow that owns a step's TrainJobs, so that Kubernetes deletes them with the run."""

import logging
import os
from typing import Any

from modelmill.core.errors import one_line

log = logging.getLogger("modelmill")
# Set by KFP in the container of a step.
POD_VARIABLE = "KFP_POD_NAME"
_SECONDS = 30.0


def of_this_pod(core_api: Any, namespace: str) -> dict[str, Any] | None:
    """Return the ownerReference to the Workflow of this pod; None outside a cluster's run.

    A pod that cannot be read costs the reference only: cancelling the run deletes the TrainJobs all the same.

    Args:
        core_api: The Kubernetes API.
        namespace: The namespace of this pod.
    """
    name = os.environ.get(POD_VARIABLE)
    if not name:
        return None
    try:
        pod = core_api.read_namespaced_pod(name, namespace, _request_timeout=_SECONDS)
        owners = pod.metadata.owner_references or []
        workflow = next(owner for owner in owners if owner.kind == "Workflow")
    except Exception as error:
        log.warning("TrainJobs of this step will outlive a deleted run: pod %s: %s", name, one_line(error))
        return None
    # Not blockOwnerDeletion: that asks for a right on Workflows which a step does not have.
    return {"apiVersion": workflow.api_version, "kind": "Workflow", "name": workflow.name, "uid": workflow.uid}


def owned(custom_api: Any, owner: dict[str, Any]) -> Any:
    """Return the same API, whose objects are created with an owner; Kubeflow's client cannot set one.

    Args:
        custom_api: The API that Kubeflow's client creates TrainJobs with.
        owner: The ownerReference.
    """
    from kubernetes.client import CustomObjectsApi

    class Owned(CustomObjectsApi):
        def create_namespaced_custom_object(
            self, group: str, version: str, namespace: str, plural: str, body: dict[str, Any], **options: Any
        ) -> Any:
            metadata = body["metadata"] | {"ownerReferences": [owner]}
            return super().create_namespaced_custom_object(
                group, version, namespace, plural, body | {"metadata": metadata}, **options
            )

    return Owned(custom_api.api_client)
