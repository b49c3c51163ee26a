"""What the two maps are to say, and how far they are from it."""

import torch
import torch.nn.functional as F

from modelmill.tasks.image_detection.network import STRIDE, middles

# Exponents of the focal loss (Zhou et al., 2019, https://arxiv.org/abs/1904.07850, equation 1).
ALPHA, BETA = 2, 4
# Width of an object's peak as a part of its box, and how high a cell is on it to learn the box (after TTFNet, Liu et
# al., 2019, https://arxiv.org/abs/1909.00700, section 3.2).
SPREAD, NEAR = 0.54 / 6, 0.3
BOX_WEIGHT = 1.0


def peaks(boxes: torch.Tensor, labels: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """How near each cell is to the middle of each object: (batch, objects, rows, columns), 1 in the cell that holds the
    middle, 0 for what is no object.

    Args:
        boxes: left, top, right and bottom in pixels, (batch, objects, 4). labels: (batch, objects), negative: none.
    """
    grid = middles(rows, columns, boxes.device)
    low, high = boxes[..., :2], boxes[..., 2:]
    centre = ((low + high) / 2 / STRIDE).floor().mul(STRIDE).add(STRIDE / 2)
    deviation = ((high - low) * SPREAD).clamp(min=STRIDE / 4)
    distance = (grid - centre[..., None, None]) / deviation[..., None, None]
    return torch.exp(-distance.square().sum(2) / 2) * (labels >= 0)[..., None, None]


def heat_loss(logits: torch.Tensor, near: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The focal loss of a heat map with reduced penalty near the middles, summed over a picture: (batch,)."""
    chosen = F.one_hot(labels.clamp(min=0), logits.shape[1]).to(near.dtype)
    wanted = (near[:, :, None] * chosen[..., None, None]).amax(1)
    found = logits.float().sigmoid()
    positive = (wanted == 1) * (1 - found) ** ALPHA * F.logsigmoid(logits.float())
    negative = (1 - wanted) ** BETA * found**ALPHA * F.logsigmoid(-logits.float())
    return -(positive + negative).sum((1, 2, 3))


def box_loss(sides: torch.Tensor, near: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """1 - IoU of the boxes that cells near a middle say, weighted by how near and summed over a picture: (batch,)."""
    grid = middles(sides.shape[2], sides.shape[3], sides.device)
    wanted = torch.cat([grid - boxes[..., :2, None, None], boxes[..., 2:, None, None] - grid], 2)
    found = sides[:, None]
    common = torch.minimum(wanted, found)
    common = (common[:, :, :2] + common[:, :, 2:]).clamp(min=0)
    overlap = common.prod(2)
    areas = (found[:, :, :2] + found[:, :, 2:]).prod(2) + (wanted[:, :, :2] + wanted[:, :, 2:]).prod(2)
    iou = overlap / (areas - overlap).clamp(min=1e-6)
    weight = near * (near > NEAR) * (wanted.amin(2) > 0)
    weight = weight / weight.sum((2, 3), keepdim=True).clamp(min=1e-6)
    return (weight * (1 - iou)).sum((1, 2, 3))
