"""An anchor-free detector: for each cell of a grid, whether an object's middle is there and how far its sides are.

The heat map is that of "Objects as Points" (Zhou et al., 2019, https://arxiv.org/abs/1904.07850), the distances to the
four sides are those of FCOS (Tian et al., 2019, https://arxiv.org/abs/1904.01355).
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn

# Pixels a side of a cell; sides of pictures are multiples of `DIVISOR`.
STRIDE, DIVISOR = 4, 8
# Logit of an object in each cell before training (Lin et al., 2017, section 3.3,
# https://arxiv.org/abs/1708.02002).
PRIOR = -4.6
GROUPS = 8


def layer(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Return a convolution that is normalised by groups, so that each picture stands by itself.

    Group normalisation is that of Wu and He, 2018, https://arxiv.org/abs/1803.08494.
    """
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(GROUPS, outputs), nn.ReLU())


class Detector(nn.Module):
    """A detector of objects in pictures, whose two maps have a fourth of the picture's sides."""

    def __init__(self, classes: int, width: int, dropout: float) -> None:
        """Build the network with random weights.

        Args:
            classes: How many classes there are.
            width: Channels of the first layer, a multiple of `GROUPS`.
            dropout: Share of the channels before the heads that are dropped in training.
        """
        super().__init__()
        self.stem = nn.Sequential(layer(3, width, stride=2), layer(width, 2 * width, stride=2))
        self.fine = nn.Sequential(layer(2 * width, 2 * width), layer(2 * width, 2 * width))
        self.coarse = nn.Sequential(
            layer(2 * width, 4 * width, stride=2), layer(4 * width, 4 * width), layer(4 * width, 2 * width, 1)
        )
        self.merge = nn.Sequential(layer(2 * width, 2 * width), nn.Dropout2d(dropout))
        self.heat = nn.Conv2d(2 * width, classes, 1)
        self.sides = nn.Conv2d(2 * width, 4, 1)
        self.expect_little()

    def expect_little(self) -> None:
        """Set the heat map's bias so that an object is improbable in every cell, as before training."""
        nn.init.constant_(cast(torch.Tensor, self.heat.bias), PRIOR)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the heat map and the map of sides.

        The heat map has logits of each class in each cell, (batch, classes, rows, columns); the map of sides has the
        distances in pixels from the cell's middle to the object's left, top, right and bottom, (batch, 4, rows,
        columns).

        Args:
            images: uint8, (batch, 3, height, width).
        """
        x = self.stem((images.float() - 128) / 64)
        x = x + self.fine(x)
        x = self.merge(x + F.interpolate(self.coarse(x), scale_factor=2.0))
        return self.heat(x), STRIDE * self.sides(x).float().clamp(-4, 4).exp()


def of_config(config: dict[str, Any], dropout: float = 0.0) -> Detector:
    """Return the detector that a model's `config.json` describes.

    Args:
        config: Names of the `classes`, and the `width`.
        dropout: Share of the channels before the heads that are dropped in training.
    """
    return Detector(len(config["classes"]), config["width"], dropout)


def middles(rows: int, columns: int, device: torch.device) -> torch.Tensor:
    """Return x and y of each cell's middle in pixels: (2, rows, columns)."""
    y, x = ((torch.arange(count, device=device) + 0.5) * STRIDE for count in (rows, columns))
    return torch.stack([x.expand(rows, columns), y[:, None].expand(rows, columns)])
