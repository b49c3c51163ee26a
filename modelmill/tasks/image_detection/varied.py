"""Changes of pictures in training, by kornia's augmentations, for a checkpoint's detector: boxes move with them."""

from typing import Any

import numpy as np
import torch

from modelmill.tasks.image_detection import processor
from modelmill.tasks.image_detection.framed import Group
from modelmill.tasks.image_detection.recipe import PretrainedDetector


class Variation:
    """The changes that a recipe wants, each picture by draws of its own from PyTorch's generator."""

    def __init__(self, settings: PretrainedDetector, its: Any) -> None:
        """Prepare the changes.

        Args:
            settings: The recipe's `model`.
            its: The checkpoint's processor.
        """
        self._geometry, self._colours = _geometry(settings), _colours(settings)
        black, white = (
            processor.prepare(its, np.full((32, 32, 3), value, np.uint8)).values.mean(axis=(1, 2)) for value in (0, 255)
        )
        self._black, self._span = (torch.from_numpy(one)[:, None, None] for one in (black, white - black))

    def __call__(self, group: Group) -> Group:
        """Return changed pictures; objects whose middle is outside are left out.

        Pictures that fill a part of their frame alone are neither moved nor mirrored.

        Args:
            group: Pictures of one size.
        """
        pixels, labels = group.inputs["pixel_values"], group.labels
        if "pixel_mask" not in group.inputs:
            for change in self._geometry:
                pixels = change(pixels)
                labels = [
                    moved(one, matrix, pixels.shape[-2:])
                    for one, matrix in zip(labels, change.transform_matrix, strict=True)
                ]
        if self._colours:
            black, span = self._black.to(pixels), self._span.to(pixels)
            pixels = ((pixels - black) / span).clamp(0, 1)
            for change in self._colours:
                pixels = change(pixels)
            pixels = pixels * span + black
        return group._replace(inputs=group.inputs | {"pixel_values": pixels}, labels=labels)


def moved(known: dict[str, torch.Tensor], matrix: torch.Tensor, size: tuple[int, int]) -> dict[str, torch.Tensor]:
    """Return objects where a change has moved them, cut at the frame; without those whose middle is outside.

    Args:
        known: `class_labels`, and `boxes`: middle, width and height as parts of the frame.
        matrix: The change of pixels' places, (3, 3).
        size: Height and width of the frame.
    """
    height, width = size
    sides = torch.tensor([width, height], device=matrix.device, dtype=matrix.dtype)
    middle, half = known["boxes"][:, :2] * sides, known["boxes"][:, 2:] * sides / 2
    # kornia counts places from the middle of the first pixel.
    corners = torch.stack([middle - half, middle + half], 1) - 0.5
    placed = corners @ matrix[:2, :2].T + matrix[:2, 2] + 0.5
    low, high = placed.amin(1), placed.amax(1)
    middle = (low + high) / 2
    is_inside = ((middle > 0) & (middle < sides)).all(1)
    low, high = low.clamp(min=0)[is_inside], high.minimum(sides)[is_inside]
    boxes = torch.cat([(low + high) / 2, high - low], 1) / sides.repeat(2)
    return {"class_labels": known["class_labels"][is_inside], "boxes": boxes.to(known["boxes"])}


def _geometry(settings: PretrainedDetector) -> list[Any]:
    from kornia import augmentation as kornia

    changes: list[Any] = []
    if settings.shift or settings.zoom:
        moves = (settings.shift, settings.shift) if settings.shift else None
        zooms = (1 - settings.zoom, 1 + settings.zoom) if settings.zoom else None
        changes.append(kornia.RandomAffine(0.0, moves, zooms, p=1.0))
    if settings.flip:
        changes.append(kornia.RandomHorizontalFlip())
    return changes


def _colours(settings: PretrainedDetector) -> list[Any]:
    from kornia import augmentation as kornia

    return [kornia.ColorJiggle(*[settings.colour] * 3, p=1.0)] if settings.colour else []
