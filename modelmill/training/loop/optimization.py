"""Optimisers, learning-rate schedules, and the average of weights."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from modelmill.core.errors import UserError
from modelmill.recipe import Training
from modelmill.recipe.sections import FineTuning
from modelmill.training.device.precision import product_dtype
from modelmill.training.loop.muon import Muon

Optimizers = list[torch.optim.Optimizer]
# Key of a group of weights: the factor of its learning rate.
SCALE = "rate_scale"


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

    Raises:
        UserError: Rates are to differ from block to block in a network that has none.
    """
    parameters = list(trainable(model).values())
    scales = _scales(model, blocks, settings)
    hidden = {id(p) for block in blocks for p in block.parameters() if p.requires_grad and p.ndim == 2}
    optimizers: Optimizers = []
    if settings.optimizer == "muon" and hidden:
        matrices = [p for p in parameters if id(p) in hidden]
        dtype = product_dtype(matrices[0].device, settings)
        optimizers += [
            _scaled(Muon(some, settings.learning_rate, settings.weight_decay, dtype), scale)
            for scale, some in _by_scale(matrices, scales)
        ]
        parameters = [p for p in parameters if id(p) not in hidden]
    groups: list[dict[str, Any]] = []
    for scale, some in _by_scale(parameters, scales):
        groups += [
            {"params": [p for p in some if p.ndim >= 2], "weight_decay": settings.weight_decay, SCALE: scale},
            {"params": [p for p in some if p.ndim < 2], "weight_decay": 0.0, SCALE: scale},
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


def freeze(model: nn.Module, blocks: list[nn.Module], count: int) -> None:
    """Freeze the lowest blocks of a model and what is before the first of them, in place.

    Args:
        model: The model.
        blocks: Its blocks in order.
        count: How many of them are frozen.

    Raises:
        UserError: The model has fewer blocks, or nothing is left to train.
    """
    if not count:
        return
    if count > len(blocks):
        raise UserError(f"fine_tuning.frozen_layers: {count}, but the model has {len(blocks)} blocks; set that or less")
    for parameter in (*_before(model, blocks), *(p for block in blocks[:count] for p in block.parameters())):
        parameter.requires_grad_(False)
    if not trainable(model):
        raise UserError(f"fine_tuning.frozen_layers: {count} leaves nothing to train; set less")


def _before(model: nn.Module, blocks: list[nn.Module]) -> list[nn.Parameter]:
    """Return the weights before the first block, such as embeddings."""
    in_blocks = {id(p) for block in blocks for p in block.parameters()}
    before: list[nn.Parameter] = []
    for parameter in model.parameters():
        if id(parameter) in in_blocks:
            break
        before.append(parameter)
    return before


def _scales(model: nn.Module, blocks: list[nn.Module], settings: Training) -> dict[int, float]:
    """Return the factor of the learning rate of each weight that has one, by its id.

    As in ELECTRA (Clark et al., 2020, https://arxiv.org/abs/2003.10555) and BEiT (Bao et al., 2021,
    https://arxiv.org/abs/2106.08254).
    """
    decay = settings.layer_decay if isinstance(settings, FineTuning) else None
    if decay is None:
        return {}
    if not blocks:
        raise UserError("fine_tuning.layer_decay: this network has no blocks; leave it out")
    scales = {id(p): decay ** (len(blocks) + 1) for p in _before(model, blocks)}
    for number, block in enumerate(blocks):
        scales |= {id(p): decay ** (len(blocks) - number) for p in block.parameters()}
    return scales


def _by_scale(parameters: list[nn.Parameter], scales: dict[int, float]) -> list[tuple[float, list[nn.Parameter]]]:
    """Return the weights of each factor, the largest first; one group where there are no factors."""
    groups: dict[float, list[nn.Parameter]] = {}
    for parameter in parameters:
        groups.setdefault(scales.get(id(parameter), 1.0), []).append(parameter)
    return sorted(groups.items(), key=lambda group: -group[0])


def _scaled(optimizer: Muon, scale: float) -> Muon:
    for group in optimizer.param_groups:
        group[SCALE] = scale
    return optimizer


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
            group["lr"] = rate * group.get(SCALE, 1.0)
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
