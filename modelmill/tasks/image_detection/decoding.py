"""Decoding of a detector's maps into boxes."""

import numpy as np
import torch
import torch.nn.functional as F

from modelmill.tasks.image_detection.detection import Boxes
from modelmill.tasks.image_detection.network import middles

# The most boxes of a picture.
MOST = 100


def decode(heat: torch.Tensor, sides: torch.Tensor, least: float) -> list[Boxes]:
    """Return the boxes of each picture, best first: those of cells that score higher than their eight neighbours.

    Args:
        heat: Logits of the classes in each cell, (batch, classes, rows, columns).
        sides: Distances to the sides in pixels, (batch, 4, rows, columns).
        least: The least probability of a box.
    """
    surest, labels = heat.sigmoid().max(1)
    is_peak = F.max_pool2d(surest[:, None], 3, 1, 1)[:, 0] == surest
    scores, cells = (surest * is_peak).flatten(1).topk(min(MOST, surest[0].numel()))
    middle = middles(heat.shape[2], heat.shape[3], heat.device).flatten(1)
    boxes = torch.cat([middle - sides.flatten(2)[:, :2], middle + sides.flatten(2)[:, 2:]], 1)
    best = boxes.gather(2, cells[:, None].expand(-1, 4, -1)).transpose(1, 2).double().cpu().numpy()
    names = labels.flatten(1).gather(1, cells).cpu().numpy()
    every = scores.double().cpu().numpy()
    return [chosen(Boxes(*one), one[2] >= least) for one in zip(best, names, every, strict=True)]


def chosen(boxes: Boxes, mask: np.ndarray) -> Boxes:
    """Return the boxes where a mask, bool, (objects,), is true."""
    return Boxes(*(part[mask] for part in boxes))
