"""An anchor-free detector: every cell of a grid says whether an object's middle is there, and how far its sides are.

The heat map is that of "Objects as Points" (Zhou et al., 2019, https://arxiv.org/abs/1904.07850), the distances to the
four sides are those of FCOS (Tian et al., 2019, https://arxiv.org/abs/1904.01355).
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn

# Pixels a side of a cell; sides of pictures are multiples of `DIVISOR`.
STRIDE, DIVISOR = 4, 8
# At first every cell says with this probability that an object is there (Lin et al., 2017, section 3.3,
# https://arxiv.org/abs/1708.02002).
PRIOR = -4.6
GROUPS = 8


def layer(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Normalised by groups (Wu and He, 2018, https://arxiv.org/abs/1803.08494), so each picture by itself."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(GROUPS, outputs), nn.ReLU())


class Detector(nn.Module):
    """Pixels, uint8, (batch, 3, height, width), to two maps of a fourth of the sides.

    Args:
        width: channels of the first layer, a multiple of `GROUPS`. dropout: of whole channels, before the heads.
    """

    def __init__(self, classes: int, width: int, dropout: float) -> None:
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
        """Say of every cell that most likely nothing is there, as before training."""
        nn.init.constant_(cast(torch.Tensor, self.heat.bias), PRIOR)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of each class in each cell, (batch, classes, rows, columns), and the distances in pixels from its
        middle to the left, top, right and bottom of the object there, (batch, 4, rows, columns).
        """
        x = self.stem((images.float() - 128) / 64)
        x = x + self.fine(x)
        x = self.merge(x + F.interpolate(self.coarse(x), scale_factor=2.0))
        return self.heat(x), STRIDE * self.sides(x).float().clamp(-4, 4).exp()


def of_config(config: dict[str, Any], dropout: float = 0.0) -> Detector:
    """Return the detector that a model's `config.json` describes.

    Args:
        config: Names of the `classes`, and the `width`.
        dropout: Of whole channels, before the heads.
    """
    return Detector(len(config["classes"]), config["width"], dropout)


def middles(rows: int, columns: int, device: torch.device) -> torch.Tensor:
    """Of each cell in pixels: x and y, (2, rows, columns)."""
    y, x = ((torch.arange(count, device=device) + 0.5) * STRIDE for count in (rows, columns))
    return torch.stack([x.expand(rows, columns), y[:, None].expand(rows, columns)])
