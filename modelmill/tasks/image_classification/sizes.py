"""How a network is called with images of another size than it was made for; also where it is served."""

import inspect
from collections.abc import Sequence
from typing import Any

INTERPOLATE = "interpolate_pos_encoding"


def size_arguments(model: Any, size: Sequence[int]) -> dict[str, Any]:
    """Return what a model of transformers is called with beside pixels: positions are interpolated for another size.

    Args:
        model: The model.
        size: Height and width of the images.
    """
    known = getattr(model.config, "image_size", None)
    pair = [known, known] if isinstance(known, int) else list(known or size)
    if pair == list(size) or INTERPOLATE not in inspect.signature(type(model).forward).parameters:
        return {}
    return {INTERPOLATE: True}
