"""Pictures scaled to the detector's field."""

import numpy as np
from PIL import Image

GREY = 128


class Unfit(Exception):
    """A picture, or the content of its row, does not fit the detector.

    Attributes:
        policy: Key of `preprocessing` that says what becomes of such rows.
    """

    def __init__(self, policy: str, why: str) -> None:
        """Create the error.

        Args:
            policy: Key of `preprocessing` that says what becomes of such rows.
            why: What is wrong.
        """
        super().__init__(why)
        self.policy = policy


def fit(pixels: np.ndarray, side: int, may_enlarge: bool) -> tuple[np.ndarray, float]:
    """Return a picture in the upper left of a grey square, uint8, (3, side, side), and its scale there.

    Args:
        pixels: The picture: uint8, (height, width, 3).
        side: Side of the square in pixels.
        may_enlarge: Whether a picture with shorter sides is enlarged.

    Raises:
        Unfit: The picture is smaller, and must not be enlarged.
    """
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    if scale > 1 and not may_enlarge:
        raise Unfit("small", f"{width} x {height} pixels, less than the network's field of {side} x {side}")
    if scale != 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
    square = np.full((side, side, 3), GREY, np.uint8)
    square[: pixels.shape[0], : pixels.shape[1]] = pixels
    return square.transpose(2, 0, 1), scale
