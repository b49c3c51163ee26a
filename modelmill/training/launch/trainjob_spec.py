"""The definition of a TrainJob, with a digest that tells an attempt of a step whether an existing TrainJob will do."""

import os
import re
from typing import Any, NamedTuple

from modelmill.core import digest
from modelmill.runtime.node import Node

ANNOTATION = "modelmill.dev/definition"
# By this label `modelmill cancel` finds the TrainJobs of a run.
RUN_LABEL = "modelmill.dev/run"
_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
# The store's address, which is no secret; its credentials come from the Secret that the runtime names.
_PASSED_ON = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION", "AWS_REGION")


def run_label(run_id: str) -> str:
    """Return a run's id as the value of a label; a digest of one that no label may have."""
    return run_id if _LABEL_VALUE.fullmatch(run_id) else digest.of_bytes(run_id.encode())[:32]


class Definition(NamedTuple):
    """The definition of a TrainJob, without its name.

    Attributes:
        runtime: Name of the TrainingRuntime.
        image: Image of the nodes.
        torchrun: The nodes' command.
        nodes: Number of nodes.
        node: What each node gets.
        run_id: The run that it is made for.
    """

    runtime: str
    image: str
    torchrun: list[str]
    nodes: int
    node: Node
    run_id: str

    @property
    def digest(self) -> str:
        """Digest of the definition."""
        return digest.of_json(self._asdict() | {"node": self.node.model_dump()})

    def trainer(self) -> Any:
        """Return the trainer for Kubeflow's client."""
        from kubeflow.trainer import CustomTrainerContainer

        return CustomTrainerContainer(
            image=self.image,
            num_nodes=self.nodes,
            resources_per_node=self.node.resources or None,
            env={variable: os.environ[variable] for variable in _PASSED_ON if os.environ.get(variable)},
        )

    def options(self, name: str) -> list[Any]:
        """Return the options for Kubeflow's client.

        Args:
            name: The TrainJob's name.
        """
        from kubeflow.trainer.options.common import Name
        from kubeflow.trainer.options.kubernetes import Annotations, Labels, TrainerCommand

        marked = [Annotations({ANNOTATION: self.digest}), Labels({RUN_LABEL: run_label(self.run_id)})]
        return [Name(name), TrainerCommand(self.torchrun), *marked, *_placed(self.node)]


def _placed(node: Node) -> list[Any]:
    """Return options that fit the runtime's pods to the node's profile, which may resize the shared-memory volume."""
    if not node.model_dump(exclude={"resources"}, exclude_defaults=True):
        return []
    from kubeflow.trainer.options import kubernetes as options

    shm = {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": node.shm}}
    pod = options.PodTemplatePatch(
        metadata={"labels": node.labels} if node.labels else None,
        spec=options.PodSpecPatch(
            node_selector=node.node_selector or None,
            affinity=node.affinity or None,
            tolerations=node.tolerations or None,
            volumes=[shm] if node.shm else None,
        ),
    )
    job = options.JobTemplatePatch(spec=options.JobSpecPatch(template=pod))
    replicated = options.ReplicatedJobPatch(name="node", template=job)
    jobs = options.JobSetTemplatePatch(spec=options.JobSetSpecPatch(replicated_jobs=[replicated]))
    return [options.RuntimePatch(options.TrainingRuntimeSpecPatch(template=jobs))]
