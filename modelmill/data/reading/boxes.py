"""Columns of boxes and their classes, whose types are the same in every shard."""

import math
from typing import Any, NamedTuple

import pyarrow as pa

BOXES, LABELS, OUTSIDE = "boxes", "labels", "boxes_outside"
BOXES_TYPE, LABELS_TYPE = pa.list_(pa.list_(pa.float64())), pa.list_(pa.string())
# Decimals of a side in pixels: sums of decimal fractions are not exact in floating point.
DECIMALS = 4


class Objects(NamedTuple):
    """The objects of one image.

    Attributes:
        boxes: Left, top, right and bottom of each.
        labels: Name of the class of each.
    """

    boxes: list[list[float]]
    labels: list[str]


def columns(objects: list[Objects]) -> dict[str, pa.Array]:
    """Return the columns of boxes and labels, one row an image."""
    return {
        BOXES: pa.array([one.boxes for one in objects], BOXES_TYPE),
        LABELS: pa.array([one.labels for one in objects], LABELS_TYPE),
    }


def is_number(value: Any) -> bool:
    """Return whether a value of JSON is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
