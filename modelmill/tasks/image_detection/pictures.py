"""Pictures as the detector sees them."""

import numpy as np
from PIL import Image

GREY = 128


def fit(pixels: np.ndarray, side: int) -> tuple[np.ndarray, float]:
    """Return a picture in the upper left of a grey square, uint8, (3, side, side), and its scale there.

    Args:
        pixels: The picture: uint8, (height, width, 3).
        side: Of the square, in pixels.
    """
    height, width = pixels.shape[:2]
    scale = scale_of(pixels, side)
    if scale != 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
    square = np.full((side, side, 3), GREY, np.uint8)
    square[: pixels.shape[0], : pixels.shape[1]] = pixels
    return square.transpose(2, 0, 1), scale


def scale_of(pixels: np.ndarray, side: int) -> float:
    """Return what brings a picture's longer side to a square's side; more than 1 enlarges it.

    Args:
        pixels: The picture: uint8, (height, width, 3).
        side: Of the square, in pixels.
    """
    return side / max(pixels.shape[:2])


def too_small(pixels: np.ndarray, side: int) -> str:
    """Return why a picture that must not be enlarged is refused.

    Args:
        pixels: The picture: uint8, (height, width, 3).
        side: Of the square, in pixels.
    """
    return f"{pixels.shape[1]} x {pixels.shape[0]} pixels, less than the network's field of {side} x {side}"
