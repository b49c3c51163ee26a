"""What differs between kinds of model. The engine knows a task only through these two protocols."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

Batch: TypeAlias = "dict[str, torch.Tensor]"


class Examples(Protocol):
    """One split of the data as the task's model wants it.

    `lengths`, one for each example, say by what a batch is padded to its longest; None where all are of one length.
    """

    lengths: "np.ndarray | None"

    def __len__(self) -> int: ...

    def batch(self, indices: "np.ndarray") -> Batch:
        """Tensors on the CPU for the examples with these numbers."""
        ...

    def describe(self, indices: "np.ndarray") -> str:
        """Where these examples come from, for a person: the first few of them by name."""
        ...


class Task(Protocol):
    """A kind of model: how it is built, fed, scored and kept.

    `mixed_precision` says whether bf16 helps it where the hardware has it; `unit` is what its loss counts. `input` is
    the tensor of a batch that logits are of; the first of its axes, named by `axes`, may have any length. `stage` is
    the step that the task works for, where its models differ by that: it is set when the task is opened.
    """

    mixed_precision: bool
    unit: Literal["tokens", "samples"]
    input: str
    axes: tuple[str, ...]
    stage: str

    def examples(self, stage: str, split: str) -> Examples:
        """The split's examples in a stage (`pretraining` or `fine_tuning`)."""
        ...

    def build(self) -> "nn.Module":
        """The recipe's model from random initialisation; the caller has seeded."""
        ...

    def load(self, folder: Path) -> "nn.Module":
        """A model from a folder that `save` wrote or, where the task has such, a foreign one.

        Raises:
            UserError: the weights do not fit the recipe or the corpus.
        """
        ...

    def blocks(self, model: "nn.Module") -> "list[nn.Module]":
        """The hidden blocks, in order: neither the embedding nor the head."""
        ...

    def compilable(self, model: "nn.Module") -> "list[nn.Module]":
        """Modules that gain by being compiled, each by itself."""
        ...

    def terms(self, batch: Batch) -> int:
        """How many terms (tokens, examples) the loss of a batch on the CPU is the sum of."""
        ...

    def loss(self, model: "nn.Module", batch: Batch, smoothing: float = 0.0) -> "torch.Tensor":
        """The summed loss in nats, a scalar; `smoothing` is the part of a label's probability that is spread evenly."""
        ...

    def logits(self, model: "nn.Module", values: "torch.Tensor") -> "torch.Tensor":
        """What the model makes of a batch's `input`, each example by itself; the last axis is that of the classes."""
        ...

    def save(self, model: "nn.Module", folder: Path) -> None:
        """Write weights (safetensors), configuration and what prepares an input, into an empty folder."""
        ...
