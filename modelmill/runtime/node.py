"""The nodes of a TrainJob: described by the compiler, which knows the cluster's profiles, to the step that asks."""

import os
from typing import Any

from pydantic import BaseModel, ConfigDict

from modelmill.recipe import Recipe
from modelmill.recipe.sections import Training

VARIABLE = "MODELMILL_NODE"


class Node(BaseModel):
    """A pod of a TrainJob, in the words of a Kubernetes pod; what is not set here is left to the runtime.

    Attributes:
        resources: What the pod gets and may not exceed, by name.
        labels: Labels of the pod.
        node_selector: Labels that its machine must have.
        affinity: Kubernetes' affinity.
        tolerations: Kubernetes' tolerations.
        shm: Size of its /dev/shm.
    """

    model_config = ConfigDict(extra="forbid")
    resources: dict[str, str | int] = {}
    labels: dict[str, str] = {}
    node_selector: dict[str, str] = {}
    affinity: dict[str, Any] = {}
    tolerations: list[dict[str, Any]] = []
    shm: str | None = None


def given() -> Node | None:
    """Return the node that the step's environment describes, None if it was not compiled for a cluster's profiles."""
    described = os.environ.get(VARIABLE)
    return Node.model_validate_json(described) if described else None


def are_wanted(step: str, recipe: Recipe) -> bool:
    """Return whether the recipe has a step's work done on other nodes than the step's own."""
    settings = getattr(recipe, step, None)
    return isinstance(settings, Training) and settings.nodes > 1
