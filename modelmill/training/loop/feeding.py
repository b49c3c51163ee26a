"""Batches on their way to the device: made ahead by threads, so that the device does not wait for them."""

import time
from concurrent.futures import Future
from typing import NamedTuple

import torch

from modelmill.core import limits
from modelmill.tasks.contract import Batch, Examples, Task
from modelmill.training.device.threads import threads_beside_training
from modelmill.training.device.world import World
from modelmill.training.loop.order import BatchOrder

# Batches that each thread makes ahead.
AHEAD = 2
# The rest of the cores is for the training, which on a CPU takes all it can get.
MOST_THREADS, CORES_A_THREAD = 4, 4


class Fed(NamedTuple):
    """This process's part of a step's batch.

    Attributes:
        parts: Micro-batches that fit into memory.
        terms: Terms of the loss in all of them.
        counts: What else the loss is divided by, in all of them; see `OpenTask.counts`.
    """

    parts: list[Batch]
    terms: int
    counts: tuple[int, ...] = ()


class Feeder:
    """The source of a training's batches, which prepares the next ones meanwhile.

    Attributes:
        waited: Seconds for which the last batch kept the training waiting.
    """

    def __init__(
        self, task: Task, examples: Examples, order: BatchOrder, micro_batch: int, device: torch.device, world: World
    ) -> None:
        """Prepare to feed.

        Args:
            task: The task.
            examples: The examples of the split.
            order: Which examples make each batch.
            micro_batch: Examples in a micro-batch; the last one may have fewer.
            device: The device of this process.
            world: The processes that share each batch.
        """
        self.task = task
        self.examples = examples
        self.order = order
        self.micro_batch = micro_batch
        self.device = device
        self.world = world
        # A device that is quick needs more pictures decoded than one core can.
        threads = max(1, min(MOST_THREADS, limits.cores() // CORES_A_THREAD))
        self._ahead = threads * AHEAD
        self._pool = threads_beside_training("feeder", threads)
        self._coming: dict[int, Future[Fed]] = {}
        self.waited = 0.0

    def __enter__(self) -> "Feeder":
        """Return the feeder itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Stop making batches."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def batch(self, position: int) -> Fed:
        """Return the batch at a position in the data, from 0, on the device."""
        wanted = range(position, position + 1 + self._ahead)
        self._coming = {p: self._coming.get(p) or self._pool.submit(self._make, p) for p in wanted}
        began = time.monotonic()
        fed = self._coming.pop(position).result()
        self.waited = time.monotonic() - began
        return fed._replace(parts=[to_device(part, self.device) for part in fed.parts])

    def _make(self, position: int) -> Fed:
        indices = self.world.share(self.order.indices(position))
        parts = [
            self.examples.batch(indices[first : first + self.micro_batch])
            for first in range(0, len(indices), self.micro_batch)
        ]
        terms = sum(self.task.terms(part) for part in parts)
        count = getattr(self.task, "counts", None)
        counts = tuple(map(sum, zip(*map(count, parts), strict=True))) if count else ()
        if self.device.type == "cuda":
            parts = [{name: tensor.pin_memory() for name, tensor in part.items()} for part in parts]
        return Fed(parts, terms, counts)


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Return the batch on the device, without waiting for the copy."""
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
