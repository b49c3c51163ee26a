"""The TrainJobs of a cluster, through Kubeflow's own client: created, followed, deleted."""

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from modelmill.core import lifetime
from modelmill.core.errors import ModelmillError, UserError, one_line
from modelmill.store import Store
from modelmill.training.launch import job, owner
from modelmill.training.launch.trainjob_logs import NodeLog
from modelmill.training.launch.trainjob_spec import ANNOTATION, Definition

log = logging.getLogger("modelmill")
POLL_SECONDS = 2.0
COMPLETE, FAILED, GONE = "Complete", "Failed", "Gone"
# How many times in a row the Kubernetes API may fail to answer while a TrainJob runs.
_PATIENCE = 60
# Nodes that are asked to end save first, and the TrainJob is gone when they are.
_REMOVAL_SECONDS = lifetime.SAVING_SECONDS + 60
_SECONDS = 30.0


class Existing(NamedTuple):
    """A TrainJob that is there.

    Attributes:
        definition: Digest of the definition that we made it with; empty if it is not ours.
        is_going: Whether it is being deleted: its name is free when its nodes have ended.
    """

    definition: str
    is_going: bool


class Cluster:
    """The TrainJobs of a namespace."""

    def __init__(self, step: str, runtime: str) -> None:
        """Connect to the cluster.

        Args:
            step: Name of the step, for messages.
            runtime: Name of the TrainingRuntime.

        Raises:
            UserError: There is no cluster, or it has no such runtime.
        """
        self._client = _connect(step)
        self._log = NodeLog(self._client, POLL_SECONDS)
        self._ours: set[str] = set()
        with explained(f"{step}.nodes: TrainingRuntime {runtime}"):
            self._runtime = self._client.get_runtime(runtime)
        if workflow := owner.of_this_pod(self._backend.core_api, self._backend.namespace):
            self._backend.custom_api = owner.owned(self._backend.custom_api, workflow)

    @property
    def _backend(self) -> Any:
        return self._client.backend

    @property
    def _kind(self) -> tuple[str, str, str, str]:
        """TrainJobs in the words of the API for custom objects."""
        from kubeflow.trainer.constants import constants

        return constants.GROUP, constants.VERSION, self._backend.namespace, constants.TRAINJOB_PLURAL

    def find(self, name: str) -> Any:
        """Return the TrainJob, or None if there is none."""
        try:
            return self._client.get_job(name)
        except (RuntimeError, TimeoutError) as error:
            if _status(error) == 404:
                return None
            raise

    def existing(self, name: str) -> Existing | None:
        """Return what is known of the TrainJob of that name, None if there is none."""
        try:
            trainjob = self._backend.custom_api.get_namespaced_custom_object(
                *self._kind, name, _request_timeout=_SECONDS
            )
        except Exception as error:
            if getattr(error, "status", None) == 404:
                return None
            raise RuntimeError(f"Failed to get TrainJob {name}") from error
        metadata = trainjob["metadata"]
        definition = str((metadata.get("annotations") or {}).get(ANNOTATION, ""))
        return Existing(definition, bool(metadata.get("deletionTimestamp")))

    def create(self, name: str, wanted: Definition) -> bool:
        """Create a TrainJob.

        Args:
            name: Its name.
            wanted: Its definition.

        Returns:
            False if there is one of that name.
        """
        # The TrainJob may exist even if the answer is lost.
        self._ours.add(name)
        try:
            self._client.train(self._runtime, trainer=wanted.trainer(), options=wanted.options(name))
        except RuntimeError as error:
            if _status(error) == 409:
                self._ours.discard(name)
                return False
            raise
        return True

    def join(self, name: str) -> None:
        """Treat the TrainJob of that name, which an earlier attempt has made, as this attempt's."""
        self._ours.add(name)

    def follow(self, name: str, folder: Store, asked: threading.Event) -> str:
        """Show the first node's log until the TrainJob has ended, or this process is asked to end.

        A problem that a node has left is an end too: the cluster would only start the node again.

        Args:
            name: The TrainJob's name.
            folder: The folder with the job.
            asked: Set when this process is asked to end.

        Returns:
            How it ended.

        Raises:
            ModelmillError: The Kubernetes API has not answered for too long.
        """
        seen, failures = "", 0
        with self._log.shown(name):
            while not asked.wait(POLL_SECONDS):
                try:
                    trainjob = self.find(name)
                except (RuntimeError, TimeoutError) as error:
                    failures += 1
                    if failures == _PATIENCE:
                        raise ModelmillError(f"TrainJob {name}: {_reason(error)}") from error
                    continue
                failures = 0
                if trainjob is None:
                    return GONE
                pods = ", ".join(f"{pod.name} {pod.status}" for pod in trainjob.steps)
                if (now := f"{trainjob.status}; {pods or 'no node yet'}") != seen:
                    log.info("TrainJob %s: %s", name, now)
                    seen = now
                if trainjob.status in (COMPLETE, FAILED):
                    return str(trainjob.status)
                if job.final_problem(folder):
                    return FAILED
        return GONE

    def remove(self, name: str, asked: threading.Event) -> None:
        """Delete a TrainJob and wait until its name is free; see `wait_until_gone`."""
        self._delete(name)
        self.wait_until_gone(name, asked)

    def wait_until_gone(self, name: str, asked: threading.Event) -> None:
        """Wait until a TrainJob that is being deleted is gone with its nodes, or this process is asked to end.

        Raises:
            ModelmillError: It is still there after the time that its nodes have.
        """
        deadline = time.monotonic() + _REMOVAL_SECONDS
        while time.monotonic() < deadline:
            with suppress(RuntimeError, TimeoutError):
                if self.existing(name) is None:
                    return
            if asked.wait(POLL_SECONDS):
                return
        raise ModelmillError(
            f"TrainJob {name} is still being deleted after {_REMOVAL_SECONDS} s; kubectl describe trainjob {name} says "
            "what holds it"
        )

    @contextmanager
    def deleted_at_the_end(self, name: str) -> Iterator[None]:
        """Enter a block after which our TrainJob is deleted, however the step ended; others' are left alone."""
        try:
            yield
        finally:
            if name in self._ours:
                self._delete(name)

    def _delete(self, name: str) -> None:
        """Delete a TrainJob in the foreground: it is there until its nodes have ended, and so is its name."""
        try:
            self._backend.custom_api.delete_namespaced_custom_object(
                *self._kind, name, propagation_policy="Foreground", _request_timeout=_SECONDS
            )
        except Exception as error:
            if getattr(error, "status", None) != 404:
                said = _reason(error)
                log.warning("TrainJob %s could not be deleted: %s; kubectl delete trainjob %s", name, said, name)


def _connect(step: str) -> Any:
    """Return Kubeflow's client, for the cluster that this pod runs in or that KUBECONFIG names."""
    try:
        from kubeflow.common.types import KubernetesBackendConfig
        from kubeflow.trainer import TrainerClient
        from kubernetes.config import ConfigException
    except ImportError:
        message = f"{step}.nodes: training on several nodes needs the kubeflow package; pip install modelmill[nodes]"
        raise UserError(f"{message}, or set nodes to 1") from None
    # Its warning that it cannot read the control plane's version is of no use to anybody.
    logging.getLogger("kubeflow").setLevel(logging.ERROR)
    try:
        return TrainerClient(KubernetesBackendConfig(config_file=os.environ.get("KUBECONFIG")))
    except (ConfigException, OSError) as error:
        where = f"{step}.nodes: no cluster to train on ({one_line(error)})"
        raise UserError(f"{where}; run it there with `modelmill submit`, or set KUBECONFIG") from None


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Enter a block in which a refusal by the API becomes one line for the user."""
    try:
        yield
    except (RuntimeError, TimeoutError, ValueError) as error:
        raise UserError(f"{what}: {_reason(error)}") from None


def _status(error: BaseException) -> Any:
    """Return the HTTP status with which the API refused, or None where it did not answer."""
    return getattr(error.__cause__ or error, "status", None)


def _reason(error: BaseException) -> str:
    status = _status(error)
    known: dict[Any, Callable[[], str]] = {
        None: lambda: f"the Kubernetes API does not answer ({one_line(error.__cause__ or error)})"[:300],
        403: lambda: "the step's service account may not; apply k8s/base, whose Role allows it",
        404: lambda: "is not in the cluster; install Kubeflow Trainer and apply k8s/base",
    }
    return known.get(status, lambda: f"refused by the Kubernetes API ({status}): {_message(error)}")()


def _message(error: BaseException) -> str:
    body = getattr(error.__cause__ or error, "body", "") or ""
    try:
        return one_line(Exception(json.loads(body)["message"]))
    except (ValueError, KeyError, TypeError):
        return one_line(error)
