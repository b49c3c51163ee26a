"""Feed-forward networks as data: lists of layers as JSON, from which anyone can build the network again.

A serving script does so without Modelmill. No layer keeps running averages: the answer to an example does not depend
on others, and a checkpoint has to hold weights only.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

# A kind and its arguments; see `LAYERS`.
Layer = list[Any]
# The most groups of channels that `norm` normalises.
GROUPS = 8


class Together(nn.ModuleList):
    """Networks side by side on the same input; their outputs are added, or concatenated as channels."""

    def __init__(self, networks: Sequence[Sequence[Layer]], is_sum: bool) -> None:
        """Build the networks.

        Args:
            networks: Layers of each network.
            is_sum: Whether the outputs are added.
        """
        super().__init__(sequence(network) for network in networks)
        self.is_sum = is_sum

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the sum or the concatenation of the outputs."""
        made = [network(x) for network in self]
        return sum(made[1:], made[0]) if self.is_sum else torch.cat(made, dim=1)


class Mean(nn.Module):
    """The mean of each channel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the mean over pixels, (batch, channels)."""
        return x.mean(dim=(2, 3))


def conv(inputs: int, outputs: int, kernel: int, stride: int, bias: bool = False) -> nn.Module:
    """Return a convolution that keeps the size, or divides it by the stride."""
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=bias)


def deconv(inputs: int, outputs: int) -> nn.Module:
    """Return a transposed convolution to twice as many pixels a side."""
    return nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)


def norm(channels: int) -> nn.Module:
    """Return group normalisation (Wu and He, 2018, https://arxiv.org/abs/1803.08494); `GROUPS` divides the channels."""
    return nn.GroupNorm(min(GROUPS, channels), channels)


def pool(kernel: int, stride: int) -> nn.Module:
    """Return maximum pooling."""
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
    """Return the network with random weights; without layers, it returns its input."""
    return nn.Sequential(*(LAYERS[kind](*given) for kind, *given in layers))
