"""Batch normalisation that keeps its averages while a network is trained."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class _Kept(nn.Module):
    """Normalisation by the averages that there are: scale and shift are trained, mean and variance are not."""

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        """Return what is given, normalised; its gradient is right for a single example, too."""
        made: torch.Tensor = super().forward(given)
        # On a CPU, PyTorch 2.13 computes wrong gradients where the one that comes in is of a single example, has its
        # channels last, and lies in memory at another distance than its size: it takes it for one that is dense.
        # A hook, since networks change in place what is returned.
        if made.requires_grad:
            made.register_hook(torch.Tensor.contiguous)
        return made

    def train(self, mode: bool = True) -> "_Kept":
        """Stay in evaluation mode."""
        return super().train(False)


def keep_averages(model: nn.Module) -> None:
    """Make a network's batch normalisation keep its averages, in place; names and weights stay as they are.

    Those of a batch would depend on how it is divided. Detectors are trained in this way, since their batches are small
    (Carion et al., 2020, https://arxiv.org/abs/2005.12872, section 4).
    """
    for module in _norms(model):
        if not isinstance(module, _Kept):
            kind: Any = type(module)
            module.__class__ = _kept(kind)
        module.train(False)


@torch.no_grad()
def begin(model: nn.Module) -> None:
    """Give batch normalisation the scale of 1 and shift of 0 that it begins with, in place.

    EfficientNet of `transformers` draws its scales around 0, and nothing is left of an image after many layers.

    Args:
        model: The network, with random weights.
    """
    for module in _norms(model):
        module.reset_parameters()


@torch.no_grad()
def average(model: nn.Module, call: Callable[[], Any]) -> None:
    """Take averages of what a network with random weights computes, as it has none that mean anything.

    So its signals begin with a mean of 0 and a variance of 1, as batch normalisation would have them (data-dependent
    initialisation: Krähenbühl et al., 2016, https://arxiv.org/abs/1511.06856).

    Args:
        model: The network, whose averages are set in place.
        call: Calls it with examples.
    """
    norms, was_training = _norms(model), model.training
    if not norms:
        return
    model.eval()
    momenta = [module.momentum for module in norms]
    for module in norms:
        module.reset_running_stats()
        module.training, module.momentum = True, None  # no momentum: a mean of all batches, of which there is one
    call()
    for module, momentum in zip(norms, momenta, strict=True):
        module.momentum = momentum
    model.eval()
    model.train(was_training)


def _norms(model: nn.Module) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


@functools.cache
def _kept(kind: Any) -> type[nn.Module]:
    return type(f"Kept{kind.__name__}", (_Kept, kind), {})
