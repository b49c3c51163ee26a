"""Images as they might have been as well: shifted, turned, scaled; and rotated, which pretraining is asked for."""

import math

import torch
import torch.nn.functional as F


def moved(images: torch.Tensor, shift: float, turn: float, zoom: float) -> torch.Tensor:
    """Each image, drawn anew each time, shifted, turned and scaled; what comes in from outside repeats the border.

    Args:
        images: float, (batch, channels, height, width).
        shift: at most so much of a side. turn: at most so many degrees. zoom: at most so much larger or smaller.
    """
    if not shift and not turn and not zoom:
        return images
    draws = 2 * torch.rand(4, len(images), device=images.device) - 1
    angles, scales = draws[0] * math.radians(turn), 1 + draws[1] * zoom
    cosines, sines = torch.cos(angles) * scales, torch.sin(angles) * scales
    # The side of an image is 2 in the coordinates of `affine_grid`.
    rows = (cosines, -sines, 2 * shift * draws[2], sines, cosines, 2 * shift * draws[3])
    grid = F.affine_grid(torch.stack(rows, dim=1).reshape(-1, 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def rotated(images: torch.Tensor, quarters: torch.Tensor) -> torch.Tensor:
    """Square images, each turned by so many quarters (int64, (batch,)) against the clock."""
    turns = torch.stack([torch.rot90(images, quarter, dims=(2, 3)) for quarter in range(4)])
    return turns[quarters, torch.arange(len(images), device=images.device)]
