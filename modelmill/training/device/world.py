"""The processes that train one model together: this one alone, or those that torchrun has started."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from modelmill.training.device.hardware import pick_device


@dataclass(frozen=True)
class World:
    """This process among others; each trains on its part of every batch.

    Attributes:
        rank: This process's rank.
        size: Number of processes.
        local: Number of processes on this machine.
        saving: The group in which checkpoints communicate, beside the training.
    """

    rank: int = 0
    size: int = 1
    local: int = 1
    saving: Any = None

    def share(self, indices: np.ndarray) -> np.ndarray:
        """Return this process's part of a batch, in order; parts differ by at most one example."""
        return np.array_split(indices, self.size)[self.rank]

    def agree(self, *numbers: float) -> list[float]:
        """Return sums over the processes, without waiting for their devices."""
        return self._reduced(numbers, dist.ReduceOp.SUM) if self.size > 1 else list(numbers)

    def least(self, number: int) -> int:
        """Return the least number of all processes."""
        return int(self._reduced([number], dist.ReduceOp.MIN)[0]) if self.size > 1 else number

    def add_up(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the sum of a tensor over the processes, computed in place and on the device."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    @staticmethod
    def _reduced(numbers: Any, by: Any) -> list[float]:
        tensor = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(tensor, by)
        return tensor.tolist()


@contextmanager
def joined() -> Iterator[None]:
    """Join the other processes, as torchrun's variables say, for the length of the block."""
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend)
    try:
        yield
    finally:
        dist.destroy_process_group()


def here() -> World:
    """Return the processes that this one has joined, or this one alone."""
    if not dist.is_initialized():
        return World()
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    return World(dist.get_rank(), dist.get_world_size(), local, dist.new_group(backend="gloo"))


def device_mesh(world: World) -> Any:
    """Return all processes in one dimension, for FSDP."""
    from torch.distributed.device_mesh import init_device_mesh

    return init_device_mesh(pick_device().type, (world.size,))
