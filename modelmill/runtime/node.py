"""What a node of a TrainJob is given: said by the compiler, which knows the cluster's profiles, to the step that makes
the TrainJob."""

import os
from typing import Any

from pydantic import BaseModel, ConfigDict

from modelmill.recipe import Recipe
from modelmill.recipe.sections import Training

VARIABLE = "MODELMILL_NODE"


class Node(BaseModel):
    """A pod of a TrainJob, in the words of a Kubernetes pod; what is not said is the runtime's.

    `resources` are what the pod gets and may not exceed, by name; `shm` is the size of its /dev/shm.
    """

    model_config = ConfigDict(extra="forbid")
    resources: dict[str, str | int] = {}
    labels: dict[str, str] = {}
    node_selector: dict[str, str] = {}
    affinity: dict[str, Any] = {}
    tolerations: list[dict[str, Any]] = []
    shm: str | None = None


def given() -> Node | None:
    """The node that the step's environment describes; None where it was not compiled for a cluster's profiles."""
    said = os.environ.get(VARIABLE)
    return Node.model_validate_json(said) if said else None


def are_wanted(step: str, recipe: Recipe) -> bool:
    """Whether the step's work is done on other nodes than its own."""
    settings = getattr(recipe, step, None)
    return isinstance(settings, Training) and settings.nodes > 1
