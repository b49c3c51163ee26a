"""Augmentation of images by small moves, and the rotations that pretraining predicts."""

import math

import torch
import torch.nn.functional as F


def moved(images: torch.Tensor, shift: float, turn: float, zoom: float) -> torch.Tensor:
    """Return images shifted, turned and scaled at random; the border is repeated beyond the image.

    Args:
        images: float, (batch, channels, height, width).
        shift: The greatest shift as a share of a side.
        turn: The greatest turn in degrees.
        zoom: The greatest change of scale, where 0.1 is a tenth larger or smaller.
    """
    if not shift and not turn and not zoom:
        return images
    draws = 2 * torch.rand(4, len(images), device=images.device) - 1
    angles, scales = draws[0] * math.radians(turn), 1 + draws[1] * zoom
    cosines, sines = torch.cos(angles) * scales, torch.sin(angles) * scales
    # In the coordinates of `affine_grid` an image has sides of 2.
    rows = (cosines, -sines, 2 * shift * draws[2], sines, cosines, 2 * shift * draws[3])
    grid = F.affine_grid(torch.stack(rows, dim=1).reshape(-1, 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def rotated(images: torch.Tensor, quarters: torch.Tensor) -> torch.Tensor:
    """Return square images, each turned counterclockwise by a number of quarters.

    Args:
        images: (batch, channels, size, size).
        quarters: 0 to 3, int64, (batch,).
    """
    turns = torch.stack([torch.rot90(images, quarter, dims=(2, 3)) for quarter in range(4)])
    return turns[quarters, torch.arange(len(images), device=images.device)]
