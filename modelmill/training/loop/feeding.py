"""Batches on their way to the device: made ahead by a thread, so that the device does not wait for them."""

from concurrent.futures import Future
from typing import NamedTuple

import torch

from modelmill.tasks.contract import Batch, Examples, Task
from modelmill.training.device.threads import thread_beside_training
from modelmill.training.launch.world import World
from modelmill.training.loop.order import BatchOrder

AHEAD = 2


class Fed(NamedTuple):
    """This process's part of a step's batch, in parts that fit into memory, and how many terms their loss sums up."""

    parts: list[Batch]
    terms: int


class Feeder:
    """Gives the batch of any position; those of the next positions are made meanwhile.

    Args:
        micro_batch: examples in a part, the last one may have fewer.
    """

    def __init__(
        self, task: Task, examples: Examples, order: BatchOrder, micro_batch: int, device: torch.device, world: World
    ) -> None:
        self.task = task
        self.examples = examples
        self.order = order
        self.micro_batch = micro_batch
        self.device = device
        self.world = world
        self._pool = thread_beside_training("feeder")
        self._coming: dict[int, Future[Fed]] = {}

    def __enter__(self) -> "Feeder":
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def batch(self, position: int) -> Fed:
        """The batch at a position in the data, counted from 0, on the device."""
        wanted = range(position, position + 1 + AHEAD)
        self._coming = {p: self._coming.get(p) or self._pool.submit(self._make, p) for p in wanted}
        fed = self._coming.pop(position).result()
        return Fed([to_device(part, self.device) for part in fed.parts], fed.terms)

    def _make(self, position: int) -> Fed:
        indices = self.world.share(self.order.indices(position))
        parts = [
            self.examples.batch(indices[first : first + self.micro_batch])
            for first in range(0, len(indices), self.micro_batch)
        ]
        terms = sum(self.task.terms(part) for part in parts)
        if self.device.type == "cuda":
            parts = [{name: tensor.pin_memory() for name, tensor in part.items()} for part in parts]
        return Fed(parts, terms)


def to_device(batch: Batch, device: torch.device) -> Batch:
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
