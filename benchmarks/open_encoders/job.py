"""A fine-tuning that is timed, and how well its model classifies."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.open_encoders.data import Case, Opened

# `cpu` counts the processor seconds of this process, for a machine that others use too.
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass
class Job:
    """A fine-tuning; the peer calls `tick` after each step.

    Attributes:
        case: The model and its data.
        opened: Its task and weights.
        steps: Steps to train.
        warm_up: Steps that are not timed.
        scratch: Folder for temporary files.
        clock: Returns seconds.
        ends: When each step ended.
        units: Tokens without padding, or examples where there are no tokens, up to the end of each step.
        input_wait: Share of the steps' time in which the peer waited for a batch; None where it is not known.
    """

    case: Case
    opened: Opened
    steps: int
    warm_up: int
    scratch: Path
    clock: Callable[[], float]
    ends: list[float] = field(default_factory=list)
    units: list[int] = field(default_factory=list)
    input_wait: float | None = None
    _seen: int = 0

    def watch(self, model: Any) -> Any:
        """Return a model whose inputs are counted; grouped by length, batches of one size differ in what they cost.

        Args:
            model: The model.
        """

        def count(_: Any, __: Any, inputs: dict[str, torch.Tensor]) -> None:
            if "input_ids" in inputs:
                self._seen += int(inputs["attention_mask"].sum())
            else:
                self._seen += len(next(iter(inputs.values())))

        model.register_forward_pre_hook(count, with_kwargs=True)
        return model

    def tick(self) -> None:
        """Note the end of a step."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(self.clock())
        self.units.append(self._seen)


@torch.no_grad()
def accuracy(job: Job, model: Any, most: int) -> tuple[float, int] | None:
    """Return the share of held-out texts that get their class, and how many there are, for all peers by the same code.

    Args:
        job: The run.
        model: The trained model.
        most: How many texts at most.
    """
    if job.case.name != "minilm" or not most:
        return None
    examples = job.opened.task.examples("fine_tuning", "test")
    right, count = 0, min(most, len(examples))
    model = model.float().eval()
    for first in range(0, count, 128):
        batch = examples.batch(np.arange(first, min(first + 128, count)))
        labels = batch.pop("labels")
        found = model(**{name: tensor.to(model.device) for name, tensor in batch.items()}).logits.argmax(1)
        right += int((found.cpu() == labels).sum())
    return right / count, count
