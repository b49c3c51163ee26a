"""Augmentation of pictures: moved, larger or smaller, lighter or darker.

Nothing is mirrored, because mirrored digits and letters are other ones.
"""

import torch
import torch.nn.functional as F

# The greatest changes: of size, of place as a share of a side, of contrast, and of brightness in values of a pixel.
SCALE, SHIFT, CONTRAST, BRIGHTNESS = 1.25, 0.12, 1.4, 32.0
GREY = 128


def vary(images: torch.Tensor, boxes: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return pictures changed at random, each in its own way, with their boxes and labels.

    The label of an object whose middle is outside is -1.

    Args:
        images: uint8, (batch, channels, height, width).
        boxes: Left, top, right and bottom in pixels, (batch, objects, 4).
        labels: (batch, objects).
    """
    count, _, height, width = images.shape
    device = images.device
    draws = torch.rand(4, count, device=device) * 2 - 1
    scale, shift = SCALE ** draws[0], torch.rand(count, 2, device=device).mul(2).sub(1).mul(SHIFT)
    # The source of each new pixel, in coordinates from -1 to 1.
    theta = torch.zeros(count, 2, 3, device=device)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / scale
    theta[:, :, 2] = -2 * shift / scale[:, None]
    grid = F.affine_grid(theta, [count, 3, height, width], align_corners=False)
    # Pixels from outside are grey, as beside a picture that is not square.
    varied = F.grid_sample(images.float() - GREY, grid, align_corners=False)
    contrast, brightness = CONTRAST ** draws[1], BRIGHTNESS * draws[2]
    varied = varied * contrast[:, None, None, None] + GREY + brightness[:, None, None, None]
    sides = torch.tensor([width, height, width, height], device=device, dtype=boxes.dtype)
    moved = (boxes - sides / 2) * scale[:, None, None] + sides / 2 + (shift * sides[:2]).repeat(1, 2)[:, None]
    middle = (moved[..., :2] + moved[..., 2:]) / 2
    is_inside = ((middle > 0) & (middle < sides[:2])).all(-1)
    return varied.clamp(0, 255), moved.clamp(min=0).minimum(sides), torch.where(is_inside, labels, -1)
