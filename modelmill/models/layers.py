"""Feed-forward networks as data: lists of layers that JSON can hold, so that whoever has a network's description can
make it again, a serving script without Modelmill too.

No layer keeps running averages: the answer to an example does not depend on others, and weights are all that a
checkpoint has to hold.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

# A kind and what it is given; see `LAYERS`.
Layer = list[Any]
# Channels of `norm` are whitened in at most so many groups.
GROUPS = 8


class Together(nn.ModuleList):
    """Networks side by side on the same input: what they make is added up, or put beside each other as channels."""

    def __init__(self, networks: Sequence[Sequence[Layer]], is_sum: bool) -> None:
        super().__init__(sequence(network) for network in networks)
        self.is_sum = is_sum

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = [network(x) for network in self]
        return sum(made[1:], made[0]) if self.is_sum else torch.cat(made, dim=1)


class Mean(nn.Module):
    """The mean of each channel: (batch, channels)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(2, 3))


def conv(inputs: int, outputs: int, kernel: int, stride: int, bias: bool = False) -> nn.Module:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=bias)


def deconv(inputs: int, outputs: int) -> nn.Module:
    """Twice as many pixels a side."""
    return nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)


def norm(channels: int) -> nn.Module:
    """Group normalisation (Wu and He, 2018, https://arxiv.org/abs/1803.08494); `GROUPS` divides the channels."""
    return nn.GroupNorm(min(GROUPS, channels), channels)


def pool(kernel: int, stride: int) -> nn.Module:
    return nn.MaxPool2d(kernel, stride, padding=(kernel - 1) // 2)


LAYERS: dict[str, Any] = {
    "linear": nn.Linear,
    "conv": conv,
    "deconv": deconv,
    "norm": norm,
    "relu": nn.ReLU,
    "leaky": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "pool": pool,
    "mean": Mean,
    "flatten": nn.Flatten,
    "shape": lambda *sizes: nn.Unflatten(1, sizes),
    "sum": lambda *networks: Together(networks, is_sum=True),
    "concat": lambda *networks: Together(networks, is_sum=False),
}


def sequence(layers: Sequence[Layer]) -> nn.Sequential:
    """The module with random weights; of no layers it hands on what it is given."""
    return nn.Sequential(*(LAYERS[kind](*given) for kind, *given in layers))
