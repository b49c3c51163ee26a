"""A model step on several nodes: a TrainJob of Kubeflow Trainer whose nodes torchrun the step's own processes.

What the nodes are told and what they leave is in the store, under `runs/<run>/jobs/<TrainJob>/`.
"""

import logging
import os
from threading import Event

from modelmill import recipe as recipes
from modelmill.core import digest, lifetime
from modelmill.core.errors import ModelmillError, Preempted, UserError
from modelmill.core.machine import IMAGE_VARIABLE
from modelmill.recipe import Training
from modelmill.runtime import cancellation, node
from modelmill.runtime.node import Node
from modelmill.runtime.step_runtime import Made, Step
from modelmill.store import Store, open_store
from modelmill.training.launch import heartbeat, job
from modelmill.training.launch.trainjob_spec import Definition
from modelmill.training.launch.trainjobs import COMPLETE, Cluster, explained

log = logging.getLogger("modelmill")
RUNTIME = "modelmill-torch"
RUNTIME_VARIABLE = "MODELMILL_TRAINING_RUNTIME"
# TrainJobs of one step in a row, where nodes are taken away; each resumes from the last checkpoint.
ATTEMPTS = 3


def run(step: Step, settings: Training) -> Made:
    """Have a TrainJob do the step's work, and return what its first process made.

    A TrainJob that an earlier attempt of the step has left running is joined. None outlives this call.

    Args:
        step: The step.
        settings: The stage's settings.

    Raises:
        UserError: The nodes cannot reach the store, or there is no cluster that runs TrainJobs.
        Preempted: This process was asked to end.
        Cancelled: The run is cancelled.
        ModelmillError: The error that ended a process.
    """
    _require_store(step)
    runtime = os.environ.get(RUNTIME_VARIABLE) or RUNTIME
    cluster = Cluster(step.name, runtime)
    name = name_of(step)
    folder = open_store(f"{step.store.uri}/runs/{step.run_id}/jobs/{name}")
    wanted = _definition(step, settings, runtime, folder)
    with lifetime.termination() as asked, heartbeat.kept(folder), cluster.deleted_at_the_end(name):
        for _ in range(ATTEMPTS):
            # Its TrainJob may have been deleted just because of that.
            cancellation.require_none(step.store, step.run_id)
            _create_or_join(cluster, name, wanted, folder, step, asked)
            status = cluster.follow(name, folder, asked)
            if asked.is_set():
                raise Preempted(f"TrainJob {name} is deleted")
            if status == COMPLETE and (made := job.made_of(folder)):
                return made
            if problem := job.final_problem(folder):
                raise problem
            log.warning("TrainJob %s is %s; another goes on from the last checkpoint", name, status.lower())
            cluster.remove(name, asked)
    raise ModelmillError(f"TrainJob {name} ended {ATTEMPTS} times before its work was done; see the log of its nodes")


def name_of(step: Step) -> str:
    """Return the TrainJob's name: the same for each attempt of a run's step, so that the next one finds it."""
    return f"{step.name.replace('_', '-')}-{digest.of_bytes(f'{step.run_id} {step.key}'.encode())[:12]}"


def _require_store(step: Step) -> None:
    if not step.store.uri.startswith("s3://"):
        where = f"{step.name}.nodes: other nodes cannot reach {step.store.uri}"
        raise UserError(f"{where}; use a store s3://BUCKET/PREFIX, or set nodes to 1")


def _create_or_join(cluster: Cluster, name: str, wanted: Definition, folder: Store, step: Step, asked: Event) -> None:
    """Make sure that a TrainJob of this definition exists, from this call or from another attempt of the step."""
    with explained(f"{step.name}.nodes: TrainJob {name}"):
        for _ in range(ATTEMPTS):
            existing = cluster.existing(name)
            if asked.is_set():
                return
            if existing and existing.definition and existing.is_going:
                log.info("TrainJob %s: of an earlier attempt, whose nodes still save and end", name)
                cluster.wait_until_gone(name, asked)
                continue
            if existing and existing.definition == wanted.digest:
                cluster.join(name)
                return log.info("TrainJob %s: joined, an earlier attempt has made it", name)
            if existing and not existing.definition:
                raise UserError(
                    f"{step.name}.nodes: TrainJob {name} is there, and no step has made it; kubectl delete trainjob "
                    f"{name}, then run it again"
                )
            if existing is not None:
                log.warning("TrainJob %s: an earlier attempt has made it, otherwise; it is replaced", name)
                cluster.remove(name, asked)
                if asked.is_set():
                    return
            job.clear(folder)
            job.describe(step, folder)
            if cluster.create(name, wanted):
                log.info("TrainJob %s: created, %d nodes", name, wanted.nodes)
                return step.progress(0, 1, f"waiting for {wanted.nodes} nodes, TrainJob {name}")
    raise ModelmillError(f"TrainJob {name}: others make it and delete it; only one attempt of the step may go on")


def _definition(step: Step, settings: Training, runtime: str, folder: Store) -> Definition:
    # PET_NNODES, PET_NODE_RANK, PET_MASTER_ADDR and PET_MASTER_PORT, by Trainer, say the rest to torchrun.
    torchrun = [
        "torchrun",
        "--nproc-per-node",
        str(settings.devices),
        "-m",
        f"modelmill.components.{step.name}",
        folder.uri,
    ]
    image = os.environ.get(IMAGE_VARIABLE, "")
    return Definition(runtime, image, torchrun, settings.nodes, _node(step, settings), step.run_id)


def _node(step: Step, settings: Training) -> Node:
    """Return what each node gets: from the cluster's profiles, else what the recipe asks for, and a GPU a device."""
    if (said := node.given()) is not None:
        return said
    asked = getattr(recipes.from_json(step.resolved).resources, step.name)
    wanted = {"cpu": asked.cpu, "memory": asked.memory, asked.gpu_type: settings.devices if asked.gpu else 0}
    return Node(resources={resource: amount for resource, amount in wanted.items() if amount})
