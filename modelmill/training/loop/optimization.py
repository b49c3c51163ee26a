"""Optimisers, learning-rate schedules, and the average of weights."""

import contextlib
import math
from collections.abc import Iterator

import torch
from torch import nn

from modelmill.recipe import Training
from modelmill.training.device.precision import product_dtype
from modelmill.training.loop.muon import Muon

Optimizers = list[torch.optim.Optimizer]


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the trainable weights by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def make_optimizers(model: nn.Module, blocks: list[nn.Module], settings: Training) -> Optimizers:
    """Return the recipe's optimisers.

    AdamW (Loshchilov and Hutter, 2019, https://arxiv.org/abs/1711.05101), SGD or, for the matrices in the blocks, Muon
    (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon) beside AdamW for the rest. Matrices decay, vectors
    (norms, biases) do not.

    Args:
        model: The model.
        blocks: The blocks whose matrices Muon takes.
        settings: The stage's settings.
    """
    parameters = list(trainable(model).values())
    hidden = {id(p) for block in blocks for p in block.parameters() if p.requires_grad and p.ndim == 2}
    optimizers: Optimizers = []
    if settings.optimizer == "muon" and hidden:
        matrices = [p for p in parameters if id(p) in hidden]
        dtype = product_dtype(matrices[0].device, settings)
        optimizers.append(Muon(matrices, settings.learning_rate, settings.weight_decay, dtype))
        parameters = [p for p in parameters if id(p) not in hidden]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if not groups:
        return optimizers
    if settings.optimizer == "sgd":
        sgd = torch.optim.SGD(groups, lr=settings.learning_rate, momentum=settings.momentum, fused=True)
        if settings.momentum:
            # Otherwise a bad first batch would leave the buffers uninitialised.
            for p in parameters:
                sgd.state[p] = {"momentum_buffer": torch.zeros_like(p)}
        return [*optimizers, sgd]
    return [
        *optimizers,
        torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(settings.beta1, settings.beta2), fused=True),
    ]


def update(optimizers: Optimizers, rate: float, bad: torch.Tensor) -> None:
    """Move the weights, unless the gradient is bad, and forget the gradient.

    The fused kernels look at `bad` on the device, so nothing waits for it; Muon has none, and does.

    Args:
        optimizers: The optimisers.
        rate: The learning rate.
        bad: Whether the gradient is bad, a bool scalar on the device.
    """
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate
        if isinstance(optimizer, Muon):
            if not bad.item():
                optimizer.step()
        else:
            optimizer.grad_scale, optimizer.found_inf = None, bad.float()  # type: ignore[attr-defined]
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def learning_rate(step: int, settings: Training) -> float:
    """Return the rate of a step: a linear warm-up, then the schedule down to `floor` times the rate.

    WSD is warm-up, stable, decay (Hu et al., 2024, https://arxiv.org/abs/2404.06395).

    Args:
        step: The step, from 0.
        settings: The stage's settings.
    """
    warmup = round(settings.warmup * settings.steps)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    begin = warmup if settings.schedule == "cosine" else settings.steps - round(settings.decay * settings.steps)
    if settings.schedule == "constant" or step < begin:
        return settings.learning_rate
    done = (step - begin) / max(1, settings.steps - begin)
    left = 0.5 * (1 + math.cos(math.pi * done)) if settings.schedule == "cosine" else 1 - done
    return settings.learning_rate * (settings.floor + (1 - settings.floor) * left)


class Average:
    """An exponential moving average of the trainable weights.

    The decay grows to `decay` as (1 + n) / (10 + n) with the number of steps, so that the first weights are soon
    forgotten.

    Attributes:
        parameters: The trainable weights by name.
        decay: The decay after many steps.
        tensors: The average by name.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Start with the weights as they are."""
        self.parameters = trainable(model)
        self.decay = decay
        self.tensors = {name: p.detach().clone() for name, p in self.parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.tensors.values()), list(self.parameters.values()), weight)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Enter a block in which the model has the average for weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, parameter in self.parameters.items():
            # Copied, as FSDP holds on to the memory of its weights.
            before = parameter.detach().clone()
            parameter.copy_(self.tensors[name])
            self.tensors[name].copy_(before)
