"""What an objective is to the task, and which one the recipe asks for."""

from typing import TYPE_CHECKING, Any, Literal, Protocol

from modelmill.tasks.contract import Batch, Examples
from modelmill.tasks.language_modeling.objectives.settings import LanguageFineTuning

if TYPE_CHECKING:
    import torch
    from torch import nn

    from modelmill.runtime.step_runtime import Step


class Objective(Protocol):
    """What fine-tuning learns, in place of the cross-entropy of responses.

    Attributes:
        unit: What its loss counts.
        notes: What a model's manifest says of it.
    """

    unit: Literal["tokens", "samples"]
    notes: dict[str, Any]

    def examples(self, plain: Any, split: str) -> Examples:
        """Return the examples of a split with what the loss needs beside their tokens.

        Args:
            plain: The split's examples as the task makes them of the corpus.
            split: Name of the split.
        """
        ...

    def compilable(self) -> "list[nn.Module]":
        """Return the modules of the loss that are worth compiling."""
        ...

    def terms(self, batch: Batch) -> int:
        """Return how many terms the loss of a batch on the CPU is the sum of."""
        ...

    def counts(self, batch: Batch) -> tuple[int, ...]:
        """Return what the loss is divided by beside its terms; see `modelmill.tasks.contract.OpenTask`."""
        ...

    def has_first_pass(self) -> bool:
        """Return whether the loss of a part needs a sum over the whole batch."""
        ...

    def first_pass(self, task: Any, model: Any, batch: Batch) -> "torch.Tensor":
        """Return a part's contribution to that sum, a scalar."""
        ...

    def loss(self, task: Any, model: Any, batch: Batch) -> "torch.Tensor":
        """Return the summed loss, a scalar.

        Args:
            task: The task.
            model: The model.
            batch: A batch of `examples` on the model's device.
        """
        ...


def prepare(step: "Step", task: Any, model: Any, settings: LanguageFineTuning) -> Objective | None:
    """Return the recipe's objective, ready to train; None for the cross-entropy of responses, which is the task's own.

    Args:
        step: The running step.
        task: The task.
        model: The model as it came from pretraining, on the CPU and without adapters; it is left as it is.
        settings: The stage's settings.

    Raises:
        UserError: The corpus or the model does not fit the objective.
    """
    if settings.objective == "sft":
        return None
    if settings.objective == "distil":
        from modelmill.tasks.language_modeling.objectives import distillation

        return distillation.prepare(step, task, settings)
    from modelmill.tasks.language_modeling.objectives import preferences

    return preferences.prepare(step, task, model, settings)
