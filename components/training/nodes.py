"""A model step on several nodes: a TrainJob of Kubeflow Trainer whose nodes torchrun the step's own processes.

What the nodes are told and what they leave is in the store, under `runs/<run>/jobs/<TrainJob>/`.
"""

import itertools
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from components.common import digest, lifetime
from components.common import recipe as recipes
from components.common.errors import ModelmillError, Preempted, UserError, one_line
from components.common.machine import IMAGE_VARIABLE
from components.common.recipe import Training
from components.common.step import Made, Step
from components.common.store import Store, open_store
from components.training import job

log = logging.getLogger("modelmill")
RUNTIME = "modelmill-torch"
RUNTIME_VARIABLE = "MODELMILL_TRAINING_RUNTIME"
POLL_SECONDS = 2.0
# TrainJobs of one step, one after the other, where nodes are taken away; each goes on from the last checkpoint.
ATTEMPTS = 3
# How often in a row the Kubernetes API may fail to answer while a TrainJob runs.
_PATIENCE = 60
_REMOVAL_POLLS = 300
# Where the store is, which is no secret; its credentials come from the Secret that the runtime names.
_PASSED_ON = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION", "AWS_REGION")
_GONE, _COMPLETE, _FAILED = "Gone", "Complete", "Failed"


def run(step: Step, settings: Training) -> Made:
    """Have a TrainJob do the step's work, and return what its first process made.

    A TrainJob that an earlier attempt of the step has left running is joined. None outlives this call.

    Raises:
        UserError: the nodes cannot reach the store, or there is no cluster that runs TrainJobs.
        Preempted: this process was asked to end. ModelmillError: what ended a process.
    """
    _require_store(step)
    runtime = os.environ.get(RUNTIME_VARIABLE) or RUNTIME
    cluster = _Cluster(step.name, runtime)
    name = name_of(step)
    folder = open_store(f"{step.store.uri}/runs/{step.run_id}/jobs/{name}")
    with lifetime.termination() as asked, cluster.deleted_at_the_end(name):
        for _ in range(ATTEMPTS):
            _create_or_join(cluster, name, step, settings, folder)
            status = cluster.follow(name, folder, asked)
            if asked.is_set():
                raise Preempted(f"stopped by SIGTERM; TrainJob {name} is deleted; run it again to go on")
            if status == _COMPLETE and (made := job.made_of(folder)):
                return made
            if problem := _final_problem(folder):
                raise problem
            log.warning("TrainJob %s is %s; another goes on from the last checkpoint", name, status.lower())
            cluster.remove(name, asked)
    raise ModelmillError(f"TrainJob {name} ended {ATTEMPTS} times before its work was done; see the log of its nodes")


def name_of(step: Step) -> str:
    """The TrainJob's name: the same for each attempt of a run's step, so that the next one finds it."""
    return f"{step.name.replace('_', '-')}-{digest.of_bytes(f'{step.run_id} {step.key}'.encode())[:12]}"


def _require_store(step: Step) -> None:
    if not step.store.uri.startswith("s3://"):
        where = f"{step.name}.nodes: other nodes cannot reach {step.store.uri}"
        raise UserError(f"{where}; use a store s3://BUCKET/PREFIX, or set nodes to 1")


def _create_or_join(cluster: "_Cluster", name: str, step: Step, settings: Training, folder: Store) -> None:
    with _explained(f"{step.name}.nodes: TrainJob {name}"):
        if cluster.find(name) is None:
            job.clear(folder)
            job.describe(step, folder)
            if cluster.create(name, step, settings, folder.uri):
                log.info("TrainJob %s: created, %d nodes", name, settings.nodes)
                return step.progress(0, 1, f"waiting for {settings.nodes} nodes, TrainJob {name}")
    log.info("TrainJob %s: joined, an earlier attempt has made it", name)


def _final_problem(folder: Store) -> ModelmillError | None:
    """What no other attempt would change."""
    problem = job.problem_of(folder)
    return None if isinstance(problem, Preempted) else problem


def _resources(step: Step, settings: Training) -> dict[str, str | int]:
    """What each node asks for: the step's own resources, with a GPU a device where the step has GPUs."""
    import torch

    asked = getattr(recipes.from_json(step.resolved).resources, step.name)
    wanted = {"cpu": asked.cpu, "memory": asked.memory}
    if asked.gpu or torch.cuda.is_available():
        wanted[asked.gpu_type] = settings.devices
    return {resource: amount for resource, amount in wanted.items() if amount}


class _Cluster:
    """The TrainJobs of a namespace, through Kubeflow's own client."""

    def __init__(self, step: str, runtime: str) -> None:
        self._client = _connect(step)
        self._log_lines: dict[str, int] = {}
        with _explained(f"{step}.nodes: TrainingRuntime {runtime}"):
            self._runtime = self._client.get_runtime(runtime)

    def find(self, name: str) -> Any:
        """The TrainJob, None if there is none."""
        try:
            return self._client.get_job(name)
        except (RuntimeError, TimeoutError) as error:
            if _status(error) == 404:
                return None
            raise

    def create(self, name: str, step: Step, settings: Training, folder: str) -> bool:
        """False if there is one of that name."""
        from kubeflow.trainer import CustomTrainerContainer
        from kubeflow.trainer.options.common import Name
        from kubeflow.trainer.options.kubernetes import TrainerCommand

        # PET_NNODES, PET_NODE_RANK, PET_MASTER_ADDR and PET_MASTER_PORT, by Trainer, say the rest to torchrun.
        torchrun = ["torchrun", "--nproc-per-node", str(settings.devices), "-m", f"components.{step.name}", folder]
        trainer = CustomTrainerContainer(
            image=os.environ.get(IMAGE_VARIABLE, ""),
            num_nodes=settings.nodes,
            resources_per_node=_resources(step, settings) or None,
            env={variable: os.environ[variable] for variable in _PASSED_ON if os.environ.get(variable)},
        )
        try:
            self._client.train(self._runtime, trainer=trainer, options=[Name(name), TrainerCommand(torchrun)])
        except RuntimeError as error:
            if _status(error) == 409:
                return False
            raise
        return True

    def follow(self, name: str, folder: Store, asked: threading.Event) -> str:
        """Show the first node's log until the TrainJob has ended, or this process is asked to; returns how it ended.

        It has also ended where a node says what is wrong: the cluster would only start the node again.
        """
        seen, failures = "", 0
        with self._shown(name):
            while not asked.wait(POLL_SECONDS):
                try:
                    found = self.find(name)
                except (RuntimeError, TimeoutError) as error:
                    failures += 1
                    if failures == _PATIENCE:
                        raise ModelmillError(f"TrainJob {name}: {_reason(error)}") from error
                    continue
                failures = 0
                if found is None:
                    return _GONE
                pods = ", ".join(f"{pod.name} {pod.status}" for pod in found.steps)
                if (now := f"{found.status}; {pods or 'no node yet'}") != seen:
                    log.info("TrainJob %s: %s", name, now)
                    seen = now
                if found.status in (_COMPLETE, _FAILED):
                    return str(found.status)
                if _final_problem(folder):
                    return _FAILED
        return _GONE

    def remove(self, name: str, asked: threading.Event) -> None:
        """Delete a TrainJob and wait until its name is free."""
        self._delete(name)
        for _ in range(_REMOVAL_POLLS):
            with suppress(RuntimeError, TimeoutError):
                if self.find(name) is None:
                    return
            if asked.wait(POLL_SECONDS):
                return

    @contextmanager
    def deleted_at_the_end(self, name: str) -> Iterator[None]:
        """Nobody waits for a TrainJob's work once its step has ended, however it did."""
        try:
            yield
        finally:
            self._delete(name)

    def _delete(self, name: str) -> None:
        try:
            self._client.delete_job(name)
        except (RuntimeError, TimeoutError) as error:
            if _status(error) != 404:
                log.warning(
                    "TrainJob %s could not be deleted: %s; kubectl delete trainjob %s", name, _reason(error), name
                )

    @contextmanager
    def _shown(self, name: str) -> Iterator[None]:
        """Copy the first node's log to this process's output while the block runs."""
        ended = threading.Event()
        reader = threading.Thread(target=self._copy_logs, args=(name, ended), daemon=True, name="trainjob-logs")
        reader.start()
        try:
            yield
        finally:
            ended.set()
            reader.join(10)

    def _copy_logs(self, name: str, ended: threading.Event) -> None:
        """Each pod that is the first node, one after the other; a broken stream goes on where it broke."""
        last = False
        while not last:
            last = ended.is_set()
            with suppress(RuntimeError, TimeoutError):
                found = self.find(name)
                pod = next((s for s in found.steps if s.name == "node-0"), None) if found else None
                if pod is not None:
                    shown = self._log_lines.get(pod.pod_name, 0)
                    for line in itertools.islice(self._client.get_job_logs(name, follow=not last), shown, None):
                        sys.stdout.write(f"node-0: {one_line(Exception(line))}\n")
                        self._log_lines[pod.pod_name] = shown = shown + 1
                    sys.stdout.flush()
            ended.wait(POLL_SECONDS)


def _connect(step: str) -> Any:
    """Kubeflow's client, for the cluster that this pod runs in or that KUBECONFIG names."""
    try:
        from kubeflow.common.types import KubernetesBackendConfig
        from kubeflow.trainer import TrainerClient
        from kubernetes.config import ConfigException
    except ImportError:
        message = f"{step}.nodes: training on several nodes needs the kubeflow package; pip install modelmill[nodes]"
        raise UserError(f"{message}, or set nodes to 1") from None
    # That it cannot read the version of the control plane is nothing that anybody can act on.
    logging.getLogger("kubeflow").setLevel(logging.ERROR)
    try:
        return TrainerClient(KubernetesBackendConfig(config_file=os.environ.get("KUBECONFIG")))
    except (ConfigException, OSError) as error:
        where = f"{step}.nodes: no cluster to train on ({one_line(error)})"
        raise UserError(f"{where}; run it there with `modelmill submit`, or set KUBECONFIG") from None


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """A refusal of the API before there is a TrainJob, as one line."""
    try:
        yield
    except (RuntimeError, TimeoutError, ValueError) as error:
        raise UserError(f"{what}: {_reason(error)}") from None


def _status(error: BaseException) -> Any:
    """The HTTP status with which the API refused, None where it did not answer."""
    return getattr(error.__cause__, "status", None)


def _reason(error: BaseException) -> str:
    status = _status(error)
    known: dict[Any, Callable[[], str]] = {
        None: lambda: f"the Kubernetes API does not answer ({one_line(error.__cause__ or error)})"[:300],
        403: lambda: "the step's service account may not; apply k8s/base, whose Role allows it",
        404: lambda: "is not in the cluster; install Kubeflow Trainer and apply k8s/base",
    }
    return known.get(status, lambda: f"refused by the Kubernetes API ({status}): {_message(error)}")()


def _message(error: BaseException) -> str:
    body = getattr(error.__cause__, "body", "") or ""
    try:
        return one_line(Exception(json.loads(body)["message"]))
    except (ValueError, KeyError, TypeError):
        return one_line(error)
