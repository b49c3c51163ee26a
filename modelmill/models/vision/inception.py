"""Inception v3 (Szegedy et al., 2015, https://arxiv.org/abs/1512.00567), without its auxiliary classifier.

Modules have torchvision's names, and so have the weights.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

# A convolution's channels, kernel and stride.
Layer = tuple[int, int | tuple[int, int], int]
ROW, COLUMN = (1, 7), (7, 1)


class Convolution(nn.Module):
    """A convolution with batch normalisation and ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: Any, stride: int = 1, is_padded: bool = True) -> None:
        """Build it with random weights; a padded one with a stride of 1 keeps the size."""
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (sides[0] // 2, sides[1] // 2) if is_padded else 0
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the activations."""
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Mixed(nn.Module):
    """Chains of convolutions side by side, and a pooling; their outputs are concatenated as channels."""

    def __init__(self, inputs: int, chains: dict[str, list[Layer]], pooled: int, forks: tuple[str, ...] = ()) -> None:
        """Build it with random weights.

        Args:
            inputs: Channels of the input.
            chains: Convolutions by the name of their chain.
            pooled: Channels after the mean of neighbours; 0 takes their maximum, and halves the size as chains do.
            forks: Chains whose last step is two convolutions, of a row and of a column.
        """
        super().__init__()
        self._chains: list[list[str]] = []
        self._forks, self._halves = forks, not pooled
        for chain, convolutions in chains.items():
            names, channels = [], inputs
            for number, (outputs, kernel, stride) in enumerate(convolutions, 1):
                name = chain if len(convolutions) == 1 and chain not in forks else f"{chain}_{number}"
                self.add_module(name, Convolution(channels, outputs, kernel, stride, stride == 1))
                names.append(name)
                channels = outputs
            if chain in forks:
                for letter, kernel in (("a", (1, 3)), ("b", (3, 1))):
                    name = f"{chain}_{len(convolutions) + 1}{letter}"
                    self.add_module(name, Convolution(channels, 384, kernel))
            self._chains.append(names)
        if pooled:
            self.branch_pool = Convolution(inputs, pooled, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the concatenated outputs."""
        made = []
        for names in self._chains:
            out = x
            for name in names:
                out = self.get_submodule(name)(out)
            chain = names[-1].rpartition("_")[0]
            if chain in self._forks:
                last = f"{chain}_{len(names) + 1}"
                made += [self.get_submodule(f"{last}a")(out), self.get_submodule(f"{last}b")(out)]
            else:
                made.append(out)
        if self._halves:
            return torch.cat([*made, F.max_pool2d(x, 3, 2)], 1)
        return torch.cat([*made, self.branch_pool(F.avg_pool2d(x, 3, 1, 1))], 1)


def _small(inputs: int, pooled: int) -> Mixed:
    chains: dict[str, list[Layer]] = {
        "branch1x1": [(64, 1, 1)],
        "branch5x5": [(48, 1, 1), (64, 5, 1)],
        "branch3x3dbl": [(64, 1, 1), (96, 3, 1), (96, 3, 1)],
    }
    return Mixed(inputs, chains, pooled)


def _long(width: int) -> Mixed:
    chains: dict[str, list[Layer]] = {
        "branch1x1": [(192, 1, 1)],
        "branch7x7": [(width, 1, 1), (width, ROW, 1), (192, COLUMN, 1)],
        "branch7x7dbl": [(width, 1, 1), (width, COLUMN, 1), (width, ROW, 1), (width, COLUMN, 1), (192, ROW, 1)],
    }
    return Mixed(768, chains, 192)


def _wide(inputs: int) -> Mixed:
    chains: dict[str, list[Layer]] = {
        "branch1x1": [(320, 1, 1)],
        "branch3x3": [(384, 1, 1)],
        "branch3x3dbl": [(448, 1, 1), (384, 3, 1)],
    }
    return Mixed(inputs, chains, 192, forks=("branch3x3", "branch3x3dbl"))


class Inception(nn.Module):
    """The network up to its last layer; a vector of `features` an image, of at least 75 pixels a side."""

    features_out = 2048

    def __init__(self, channels: int = 3) -> None:
        """Build the network with random weights."""
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(channels, 32, 3, 2, is_padded=False)
        self.Conv2d_2a_3x3 = Convolution(32, 32, 3, is_padded=False)
        self.Conv2d_2b_3x3 = Convolution(32, 64, 3)
        self.Conv2d_3b_1x1 = Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = Convolution(80, 192, 3, is_padded=False)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _small(192, 32), _small(256, 64), _small(288, 64)
        halving: dict[str, list[Layer]] = {
            "branch3x3": [(384, 3, 2)],
            "branch3x3dbl": [(64, 1, 1), (96, 3, 1), (96, 3, 2)],
        }
        self.Mixed_6a = Mixed(288, halving, 0)
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = _long(128), _long(160), _long(160), _long(192)
        halving = {
            "branch3x3": [(192, 1, 1), (320, 3, 2)],
            "branch7x7x3": [(192, 1, 1), (192, ROW, 1), (192, COLUMN, 1), (192, 3, 2)],
        }
        self.Mixed_7a = Mixed(768, halving, 0)
        self.Mixed_7b, self.Mixed_7c = _wide(1280), _wide(2048)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the features of images, (batch, features)."""
        pooled = ("Conv2d_2b_3x3", "Conv2d_4a_3x3")
        for name, module in self.named_children():
            x = module(x)
            x = F.max_pool2d(x, 3, 2) if name in pooled else x
        return x.mean(dim=(2, 3))
