"""Optimisers and learning-rate schedules."""

import math

import torch
from torch import nn

from components.common.recipe import Training


def make_optimizer(model: nn.Module, settings: Training) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter, 2019, https://arxiv.org/abs/1711.05101) or SGD over the trainable parameters.

    Matrices decay, vectors (norms, biases) do not.
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=settings.momentum)
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.95), fused=True)


def learning_rate(step: int, settings: Training) -> float:
    """The rate of a step (counted from 0): a linear warm-up, then constant or a half cosine down to a tenth."""
    warmup = round(settings.warmup * settings.steps)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    if settings.schedule == "constant":
        return settings.learning_rate
    done = (step - warmup) / max(1, settings.steps - warmup)
    return settings.learning_rate * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * done)))
