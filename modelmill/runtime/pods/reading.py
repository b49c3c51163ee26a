"""Kubernetes as a run's pods are read from it: plain JSON, in short calls that never raise."""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

# The run's id is KFP's label on a Workflow and its pods, and ours on a TrainJob, whose pods have its name.
_RUN_LABEL, _TRAINJOB_LABEL = "pipeline/runid", "modelmill.dev/run"
_NODES_LABEL = "jobset.sigs.k8s.io/jobset-name"
_ARGO, _TRAINER = ("argoproj.io", "v1alpha1"), ("trainer.kubeflow.org", "v1alpha1")
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TIMEOUT = (3, 10)
# A log's end, where the executor says why it goes on trying.
_LOG_LINES = 20

Document = dict[str, Any]


class Kubernetes:
    """A namespace of a cluster.

    What is refused is empty. Once the API has not answered nothing more is asked of it, so that a run's command or
    report waits for it once.
    """

    def __init__(self, client: Any, namespace: str) -> None:
        """Keep the client.

        Args:
            client: The `ApiClient` of Kubernetes' own library.
            namespace: The namespace of the runs.
        """
        self._client, self._namespace = client, namespace
        self._is_away = False

    def pods(self, run_id: str) -> list[Document]:
        """Return the pods of a run, those of its TrainJobs among them, oldest first.

        Args:
            run_id: The run, as KFP names it.
        """
        selectors = [f"{_RUN_LABEL}={run_id}"]
        if jobs := self._custom(_TRAINER, "trainjobs", f"{_TRAINJOB_LABEL}={run_id}"):
            selectors.append(f"{_NODES_LABEL} in ({','.join(job['metadata']['name'] for job in jobs)})")
        list_pods = self._core().list_namespaced_pod
        calls = [partial(list_pods, self._namespace, label_selector=selector) for selector in selectors]
        found = [pod for call in calls for pod in self._items(call)]
        return sorted(found, key=lambda pod: str(pod["metadata"].get("creationTimestamp")))

    def events(self, **fields: str) -> list[Document]:
        """Return the events with such fields, oldest first.

        Args:
            fields: Values by field; `name` is that of the object, the others are an event's own.
        """
        names = {"name": "involvedObject.name"}
        selector = ",".join(f"{names.get(field, field)}={value}" for field, value in fields.items())
        list_events = self._core().list_namespaced_event
        found = self._items(partial(list_events, self._namespace, field_selector=selector))
        return sorted(found, key=_time_of)

    def workflow(self, run_id: str) -> Document | None:
        """Return the Workflow of a run; None if it is not there or may not be read.

        Args:
            run_id: The run, as KFP names it.
        """
        found = self._custom(_ARGO, "workflows", f"{_RUN_LABEL}={run_id}")
        return found[0] if found else None

    def nodes(self) -> list[Document]:
        """Return the nodes of the cluster."""
        return self._items(self._core().list_node)

    def quotas(self) -> list[Document]:
        """Return the ResourceQuotas of the namespace."""
        return self._items(partial(self._core().list_namespaced_resource_quota, self._namespace))

    def log(self, pod: str, container: str) -> list[str]:
        """Return the last lines of a container's log.

        Args:
            pod: Name of the pod.
            container: Name of the container.
        """
        read = self._core().read_namespaced_pod_log
        answer = self._asked(partial(read, pod, self._namespace, container=container, tail_lines=_LOG_LINES))
        return answer.decode("utf-8", "replace").splitlines() if answer else []

    def _custom(self, group: tuple[str, str], plural: str, selector: str) -> list[Document]:
        from kubernetes.client import CustomObjectsApi

        list_objects = CustomObjectsApi(self._client).list_namespaced_custom_object
        return self._items(partial(list_objects, *group, self._namespace, plural, label_selector=selector))

    def _core(self) -> Any:
        from kubernetes.client import CoreV1Api

        return CoreV1Api(self._client)

    def _items(self, call: Callable[..., Any]) -> list[Document]:
        try:
            items = json.loads(self._asked(call) or b"{}").get("items")
        except (ValueError, AttributeError):
            return []
        return [item for item in items or [] if isinstance(item, dict)]

    def _asked(self, call: Callable[..., Any]) -> bytes | None:
        """Return what a call answers, as it was sent: the library's models refuse fields that they do not know."""
        import urllib3
        from kubernetes.client import ApiException

        if self._is_away:
            return None
        try:
            data: bytes = call(_preload_content=False, _request_timeout=_TIMEOUT).data
            return data
        except ApiException as error:
            self._is_away = not error.status
        except (urllib3.exceptions.HTTPError, OSError):
            self._is_away = True
        return None


def connect(namespace: str | None = None) -> Kubernetes | None:
    """Return the cluster that KUBECONFIG names, else this pod's own, else that of `~/.kube/config`; None without one.

    Args:
        namespace: The namespace of the runs; None is this pod's own, or that of the file's context.
    """
    from kubernetes import client, config

    configuration = client.Configuration()
    # Whoever asks asks again in a minute, or does without.
    configuration.retries = False
    file = os.environ.get("KUBECONFIG")
    try:
        if file is None and (_ACCOUNT / "token").exists():
            config.load_incluster_config(client_configuration=configuration)
            namespace = namespace or (_ACCOUNT / "namespace").read_text().strip()
        else:
            file = file or str(Path("~/.kube/config").expanduser())
            config.load_kube_config(config_file=file, client_configuration=configuration)
            namespace = namespace or config.list_kube_config_contexts(file)[1]["context"].get("namespace", "default")
    except Exception:
        # A file can be broken in any way, and whatever its plugin raises for a login that has ended comes through.
        return None
    return Kubernetes(client.ApiClient(configuration), str(namespace))


def _time_of(event: Document) -> str:
    """Return when an event was last seen, as text that sorts; events have the one field or the other."""
    series = event.get("series") or {}
    known = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return str(next((time for time in known if time), ""))
