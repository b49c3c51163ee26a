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
    """This process among `size`, of which `local` are on its machine; each trains on its part of every batch.

    `saving` is the group that checkpoints talk in, so that they can do so beside the training.
    """

    rank: int = 0
    size: int = 1
    local: int = 1
    saving: Any = None

    def share(self, indices: np.ndarray) -> np.ndarray:
        """This process's part of a batch, in order; parts differ by at most one example."""
        return np.array_split(indices, self.size)[self.rank]

    def agree(self, *numbers: float) -> list[float]:
        """Sums over the processes. Waits for the processes, not for their devices."""
        return self._reduced(numbers, dist.ReduceOp.SUM) if self.size > 1 else list(numbers)

    def least(self, number: int) -> int:
        return int(self._reduced([number], dist.ReduceOp.MIN)[0]) if self.size > 1 else number

    def add_up(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum of a tensor over the processes, in place and on the device."""
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
    """The world that this process has joined, or is."""
    if not dist.is_initialized():
        return World()
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    return World(dist.get_rank(), dist.get_world_size(), local, dist.new_group(backend="gloo"))


def device_mesh(world: World) -> Any:
    """All processes in one dimension, as FSDP wants them."""
    from torch.distributed.device_mesh import init_device_mesh

    return init_device_mesh(pick_device().type, (world.size,))
