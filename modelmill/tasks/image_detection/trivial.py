"""Trivial detectors for pictures of any size, which a checkpoint's detector must be better than."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from PIL import Image

from modelmill.tasks.image_detection.baseline import Blobs, average_boxes
from modelmill.tasks.image_detection.detection import Boxes

# The longer side in pixels of what blobs are looked for in, and the most pictures of the training split that are looked
# at, evenly spaced.
SIDE, LEARNED = 160, 2000
MOST = 9


class Pictures(Protocol):
    """Pictures with their objects."""

    def __len__(self) -> int:
        """Return the number of pictures."""
        ...

    def pixels(self, index: int) -> np.ndarray:
        """Return a picture: uint8, (height, width, 3)."""
        ...

    def size(self, index: int) -> tuple[int, int]:
        """Return a picture's height and width."""
        ...

    def known(self, index: int) -> Boxes:
        """Return the known objects of a picture, in its pixels."""
        ...


def average(training: Pictures, held_out: Pictures) -> list[Boxes]:
    """Return the same boxes, as parts of a picture, for every held-out one.

    Args:
        training: Pictures of the training split.
        held_out: Pictures of the test split.
    """
    relative = [_scaled(training.known(one), _inverse(training.size(one))) for one in range(len(training))]
    (same, *_) = average_boxes(relative, 1, MOST)
    return [_scaled(same, held_out.size(one)) for one in range(len(held_out))]


def blobs(training: Pictures, held_out: Pictures) -> list[Boxes]:
    """Return the connected pixels of each held-out picture that differ from the rest of it.

    Args:
        training: Pictures of the training split.
        held_out: Pictures of the test split.
    """
    learned = _evenly(training)
    finder = Blobs(
        (smaller(training.pixels(one), SIDE).transpose(2, 0, 1) for one in learned),
        [_scaled(training.known(one), _shrinking(training.size(one))) for one in learned],
    )
    found = (finder.find(smaller(held_out.pixels(one), SIDE).transpose(2, 0, 1)) for one in range(len(held_out)))
    return [_scaled(boxes, _inverse(_shrinking(held_out.size(place)))) for place, boxes in enumerate(found)]


def _evenly(pictures: Pictures) -> Sequence[int]:
    every = np.linspace(0, len(pictures) - 1, min(LEARNED, len(pictures))).round().astype(int)
    return [one for one in every.tolist() if len(pictures.known(one).labels)]


def smaller(pixels: np.ndarray, side: int) -> np.ndarray:
    """Return a picture whose longer side has so many pixels at most.

    Args:
        pixels: uint8, (height, width, 3).
        side: Pixels.
    """
    height, width = pixels.shape[:2]
    if max(height, width) <= side:
        return pixels
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))


def _shrinking(size: tuple[int, int]) -> tuple[float, float]:
    """Return how much smaller a picture's height and width become."""
    scale = min(1.0, SIDE / max(size))
    return scale, scale


def _inverse(scale: tuple[float, float]) -> tuple[float, float]:
    return 1 / scale[0], 1 / scale[1]


def _scaled(boxes: Boxes, scale: tuple[float, float]) -> Boxes:
    """Return boxes with their distances from top and left scaled."""
    return boxes._replace(boxes=boxes.boxes * np.array([scale[1], scale[0]] * 2))
