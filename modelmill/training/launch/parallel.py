"""A model and its loss as one module, which several processes can train together."""

import contextlib
import functools
from typing import Any

import torch
from torch import nn

from modelmill.recipe import Training
from modelmill.tasks.contract import Batch, Task
from modelmill.training.device.world import World, device_mesh


class Scored(nn.Module):
    """A model with its task's loss.

    DDP and FSDP tell when a pass begins and ends by the module that is called, so the loss belongs inside it.

    Attributes:
        task: The task.
        model: The model.
        smoothing: Label smoothing in training.
    """

    def __init__(self, task: Task, model: nn.Module, smoothing: float) -> None:
        """Wrap the model."""
        super().__init__()
        self.task = task
        self.model = model
        self.smoothing = smoothing

    @property
    def has_first_pass(self) -> bool:
        """Return whether the loss of a part of a batch takes something from all of it."""
        return bool(getattr(self.task, "has_first_pass", lambda: False)())

    def counts(self, batch: Batch) -> tuple[int, ...]:
        """Return what the loss is divided by beside its terms."""
        counts: tuple[int, ...] = getattr(self.task, "counts", lambda _: ())(batch)
        return counts

    def forward(self, batch: Batch, is_first: bool = False) -> torch.Tensor:
        """Return the summed loss of a batch in nats, smoothed in training only.

        Args:
            batch: The batch.
            is_first: Whether to return what the losses of all parts need instead; see `OpenTask.first_pass`.
        """
        if is_first:
            summed: torch.Tensor = self.task.first_pass(self.model, batch)  # type: ignore[attr-defined]
            return summed
        return self.task.loss(self.model, batch, self.smoothing if self.training else 0.0)


def is_sharded(settings: Training, world: World) -> bool:
    """Tell whether the processes share one copy of the weights (FSDP)."""
    return world.size > 1 and settings.strategy == "fsdp"


def is_replicated(settings: Training, world: World) -> bool:
    """Tell whether each process has a copy of the weights (DDP)."""
    return world.size > 1 and settings.strategy == "ddp"


def shard(scored: Scored, blocks: list[nn.Module], dtype: torch.dtype, world: World) -> None:
    """Spread every weight, gradient and optimizer slot over the processes, in place, with PyTorch's FSDP2.

    A block is whole only while it is its turn (Zhao et al., 2023, https://arxiv.org/abs/2304.11277).

    Args:
        scored: The model with its loss.
        blocks: The parts of the model that are sharded by themselves.
        dtype: The number format of matrix products.
        world: The processes.
    """
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh, policy = device_mesh(world), MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    for block in blocks:
        fully_shard(block, mesh=mesh, mp_policy=policy)
    # What is left (embedding, head) stays whole from the forward to the backward pass.
    fully_shard(scored, mesh=mesh, mp_policy=policy, reshard_after_forward=False)


def replicate(scored: Scored) -> nn.Module:
    """Return the module with the same weights in every process; gradients are averaged during the backward pass."""
    return nn.parallel.DistributedDataParallel(scored, broadcast_buffers=False, gradient_as_bucket_view=True)


def recompute(blocks: list[nn.Module]) -> None:
    """Keep only the input of each block, in place, and recompute the rest in the backward pass.

    Chen et al., 2016, https://arxiv.org/abs/1604.06174.
    """
    from torch.utils.checkpoint import checkpoint

    for block in blocks:
        block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False)


def last_of_batch(called: nn.Module, is_last: bool) -> contextlib.AbstractContextManager[Any]:
    """Return a context for the passes of a micro-batch, in which only a batch's last one exchanges gradients."""
    if isinstance(called, nn.parallel.DistributedDataParallel):
        return contextlib.nullcontext() if is_last else called.no_sync()
    if hasattr(called, "set_requires_gradient_sync"):
        called.set_requires_gradient_sync(is_last)  # type: ignore[operator]
    return contextlib.nullcontext()


def forget_whole(scored: nn.Module) -> None:
    """Drop whole copies of weights after a pass without a backward one; they are stale once weights change."""
    if hasattr(scored, "reshard"):
        scored.reshard()  # type: ignore[operator]


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor, possibly sharded, in one piece; every process must call this."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
