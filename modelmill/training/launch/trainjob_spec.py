"""What a TrainJob is made of, with a digest: by it an attempt of a step knows whether one that is there will do."""

import os
from typing import Any, NamedTuple

from modelmill.core import digest
from modelmill.runtime.node import Node

ANNOTATION = "modelmill.dev/definition"
# Where the store is, which is no secret; its credentials come from the Secret that the runtime names.
_PASSED_ON = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION", "AWS_REGION")


class Definition(NamedTuple):
    """What a TrainJob is made of, apart from its name."""

    runtime: str
    image: str
    torchrun: list[str]
    nodes: int
    node: Node

    @property
    def digest(self) -> str:
        return digest.of_json(self._asdict() | {"node": self.node.model_dump()})

    def trainer(self) -> Any:
        """As Kubeflow's client takes it."""
        from kubeflow.trainer import CustomTrainerContainer

        return CustomTrainerContainer(
            image=self.image,
            num_nodes=self.nodes,
            resources_per_node=self.node.resources or None,
            env={variable: os.environ[variable] for variable in _PASSED_ON if os.environ.get(variable)},
        )

    def options(self, name: str) -> list[Any]:
        """What Kubeflow's client takes beside the trainer."""
        from kubeflow.trainer.options.common import Name
        from kubeflow.trainer.options.kubernetes import Annotations, TrainerCommand

        marked = Annotations({ANNOTATION: self.digest})
        return [Name(name), TrainerCommand(self.torchrun), marked, *_placed(self.node)]


def _placed(node: Node) -> list[Any]:
    """What makes the runtime's pods those of the node's profile; the volume is the runtime's, of another size."""
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
