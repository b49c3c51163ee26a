"""Changes of images in training, by kornia's augmentations, for networks of a checkpoint."""

from typing import Any

import torch
from torch import nn

from modelmill.tasks.image_classification.recipe import PretrainedImageModel


class Augmentation:
    """The changes that a recipe wants, each image by draws of its own from PyTorch's generator."""

    def __init__(self, settings: PretrainedImageModel, black: torch.Tensor, white: torch.Tensor) -> None:
        """Prepare the changes.

        Args:
            settings: The recipe's `model`.
            black: What the image processor makes of black: (channels, 1, 1).
            white: What it makes of white.
        """
        self._black, self._span = black, white - black
        self._geometry = _geometry(settings)
        self._colours = _colours(settings, len(black))

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return changed images.

        Args:
            pixels: As the image processor has prepared them: (batch, channels, height, width).
        """
        changed = pixels
        for change in self._geometry:
            changed = change(changed)
        if not self._colours:
            return changed
        black, span = (one.to(changed) for one in (self._black, self._span))
        changed = ((changed - black) / span).clamp(0, 1)
        for change in self._colours:
            changed = change(changed)
        return changed * span + black


def _geometry(settings: PretrainedImageModel) -> list[nn.Module]:
    from kornia import augmentation as kornia

    changes: list[Any] = []
    if settings.shift or settings.turn or settings.zoom:
        moves = (settings.shift, settings.shift) if settings.shift else None
        zooms = (1 - settings.zoom, 1 + settings.zoom) if settings.zoom else None
        changes.append(kornia.RandomAffine(settings.turn, moves, zooms, padding_mode="border", p=1.0))
    if settings.flip:
        changes.append(kornia.RandomHorizontalFlip())
    return changes


def _colours(settings: PretrainedImageModel, channels: int) -> list[nn.Module]:
    from kornia import augmentation as kornia

    changes: list[Any] = []
    if settings.colour:
        # Saturation is of three channels.
        saturation = settings.colour if channels == 3 else 0.0
        changes.append(kornia.ColorJiggle(settings.colour, settings.colour, saturation, p=1.0))
    if settings.erase:
        changes.append(kornia.RandomErasing(p=settings.erase, value=0.5))
    return changes
