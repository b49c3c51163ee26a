"""What differs between kinds of model. The engine knows a task only through these two protocols."""

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import nn

Batch = dict[str, torch.Tensor]


class Examples(Protocol):
    """One split of the data as the task's model wants it."""

    def __len__(self) -> int: ...

    def batch(self, indices: np.ndarray) -> Batch:
        """Tensors on the CPU for the examples with these numbers; the first dimension is the example."""
        ...


class Task(Protocol):
    """A kind of model: how it is built, fed, scored and kept.

    `mixed_precision` says whether bf16 helps it where the hardware has it.
    """

    mixed_precision: bool

    def examples(self, stage: str, split: str) -> Examples:
        """The split's examples in a stage (`pretraining` or `fine_tuning`)."""
        ...

    def build(self) -> nn.Module:
        """The recipe's model from random initialisation; the caller has seeded."""
        ...

    def load(self, folder: Path) -> nn.Module:
        """A model from a folder that `save` wrote or, where the task has such, a foreign one.

        Raises:
            UserError: the weights do not fit the recipe or the corpus.
        """
        ...

    def loss(self, model: nn.Module, batch: Batch) -> tuple[torch.Tensor, int]:
        """The summed loss in nats, and how many terms (tokens, examples) the sum has."""
        ...

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write weights (safetensors), configuration and what prepares an input, into an empty folder."""
        ...
