"""The TrainJobs that a run's steps have made, as whoever may reach Kubernetes from here finds and deletes them."""

import os
from typing import Any

from modelmill.core.errors import one_line
from modelmill.training.launch.trainjob_spec import RUN_LABEL, run_label

KIND = ("trainer.kubeflow.org", "v1alpha1")
_SECONDS = (3.0, 15.0)


def delete(run_id: str, namespace: str) -> str:
    """Delete a run's TrainJobs in the foreground; return in one line what could not be done, if anything.

    Their nodes save within their grace period; nodes of TrainJobs that cannot be reached from here see by themselves
    that the run is cancelled.

    Args:
        run_id: The run.
        namespace: Namespace of the run.
    """
    selector = f"{RUN_LABEL}={run_label(run_id)}"
    try:
        _delete(selector, namespace)
    except Exception as error:
        again = f"kubectl delete trainjobs -n {namespace} -l {selector} --cascade=foreground"
        return f"TrainJobs of the run, if it has any, are not deleted from here: {_reason(error)}; {again}"
    return ""


def _delete(selector: str, namespace: str) -> None:
    from kubernetes import client, config

    settings = client.Configuration()
    # Of the variable as it is now: the client has read it when it was imported.
    config.load_config(config_file=os.environ.get("KUBECONFIG"), client_configuration=settings)
    settings.retries = False
    objects = client.CustomObjectsApi(client.ApiClient(settings))
    kind = (*KIND, namespace, "trainjobs")
    try:
        found = objects.list_namespaced_custom_object(*kind, label_selector=selector, _request_timeout=_SECONDS)
    except client.ApiException as error:
        if error.status == 404:
            return  # no Kubeflow Trainer, no TrainJobs
        raise
    for trainjob in found["items"]:
        _delete_one(objects, kind, trainjob["metadata"]["name"])


def _delete_one(objects: Any, kind: tuple[str, ...], name: str) -> None:
    from kubernetes import client

    try:
        objects.delete_namespaced_custom_object(*kind, name, propagation_policy="Foreground", _request_timeout=_SECONDS)
    except client.ApiException as error:
        if error.status != 404:
            raise


def _reason(error: Exception) -> str:
    if status := getattr(error, "status", None):
        return f"Kubernetes answers {status} ({getattr(error, 'reason', '')})"
    return f"Kubernetes is not reachable ({one_line(error)[:200]})"
