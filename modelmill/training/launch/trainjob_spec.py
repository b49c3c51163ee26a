"""The definition of a TrainJob, with a digest that tells an attempt of a step whether an existing TrainJob will do."""

import os
from typing import Any, NamedTuple

from modelmill.core import digest
from modelmill.runtime.node import Node

ANNOTATION = "modelmill.dev/definition"
# The store's address, which is no secret; its credentials come from the Secret that the runtime names.
_PASSED_ON = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION", "AWS_REGION")


class Definition(NamedTuple):
    """The definition of a TrainJob, without its name.

    Attributes:
        runtime: Name of the TrainingRuntime.
        image: Image of the nodes.
        torchrun: The nodes' command.
        nodes: Number of nodes.
        node: What each node gets.
    """

    runtime: str
    image: str
    torchrun: list[str]
    nodes: int
    node: Node

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
        from kubeflow.trainer.options.kubernetes import Annotations, TrainerCommand

        marked = Annotations({ANNOTATION: self.digest})
        return [Name(name), TrainerCommand(self.torchrun), marked, *_placed(self.node)]


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
