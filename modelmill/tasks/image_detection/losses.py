"""Losses of a detector's two maps, and their targets."""

import torch
import torch.nn.functional as F

from modelmill.tasks.image_detection.network import STRIDE, middles

# Exponents of the focal loss (Zhou et al., 2019, https://arxiv.org/abs/1904.07850, equation 1).
ALPHA, BETA = 2, 4
# Width of an object's peak as a share of its box, and the least height on it of a cell that learns the box (after
# TTFNet, Liu et al., 2019, https://arxiv.org/abs/1909.00700, section 3.2).
SPREAD, NEAR = 0.54 / 6, 0.3
BOX_WEIGHT = 1.0


def peaks(boxes: torch.Tensor, labels: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Return how near each cell is to the middle of each object: (batch, objects, rows, columns).

    It is 1 in the cell that holds the middle, and 0 where there is no object.

    Args:
        boxes: Left, top, right and bottom in pixels, (batch, objects, 4).
        labels: (batch, objects), negative where there is no object.
        rows: Rows of cells.
        columns: Columns of cells.
    """
    grid = middles(rows, columns, boxes.device)
    low, high = boxes[..., :2], boxes[..., 2:]
    centre = ((low + high) / 2 / STRIDE).floor().mul(STRIDE).add(STRIDE / 2)
    deviation = ((high - low) * SPREAD).clamp(min=STRIDE / 4)
    distance = (grid - centre[..., None, None]) / deviation[..., None, None]
    return torch.exp(-distance.square().sum(2) / 2) * (labels >= 0)[..., None, None]


def heat_loss(logits: torch.Tensor, near: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the focal loss of a heat map with reduced penalty near the middles, summed over a picture: (batch,).

    Args:
        logits: (batch, classes, rows, columns).
        near: See `peaks`.
        labels: (batch, objects), negative where there is no object.
    """
    chosen = F.one_hot(labels.clamp(min=0), logits.shape[1]).to(near.dtype)
    wanted = (near[:, :, None] * chosen[..., None, None]).amax(1)
    probability = logits.float().sigmoid()
    positive = (wanted == 1) * (1 - probability) ** ALPHA * F.logsigmoid(logits.float())
    negative = (1 - wanted) ** BETA * probability**ALPHA * F.logsigmoid(-logits.float())
    return -(positive + negative).sum((1, 2, 3))


def box_loss(sides: torch.Tensor, near: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Return 1 - IoU of the boxes of cells near a middle, weighted by nearness and summed over a picture: (batch,).

    Args:
        sides: Distances to the sides in pixels, (batch, 4, rows, columns).
        near: See `peaks`.
        boxes: Left, top, right and bottom in pixels, (batch, objects, 4).
    """
    grid = middles(sides.shape[2], sides.shape[3], sides.device)
    wanted = torch.cat([grid - boxes[..., :2, None, None], boxes[..., 2:, None, None] - grid], 2)
    predicted = sides[:, None]
    common = torch.minimum(wanted, predicted)
    common = (common[:, :, :2] + common[:, :, 2:]).clamp(min=0)
    overlap = common.prod(2)
    areas = (predicted[:, :, :2] + predicted[:, :, 2:]).prod(2) + (wanted[:, :, :2] + wanted[:, :, 2:]).prod(2)
    iou = overlap / (areas - overlap).clamp(min=1e-6)
    weight = near * (near > NEAR) * (wanted.amin(2) > 0)
    weight = weight / weight.sum((2, 3), keepdim=True).clamp(min=1e-6)
    return (weight * (1 - iou)).sum((1, 2, 3))
