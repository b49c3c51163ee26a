"""Boxes of a layout in the pixels of the images that they are of."""

from typing import Any, NamedTuple

import pyarrow as pa

from modelmill.data.reading import coco
from modelmill.data.reading.boxes import BOXES, BOXES_TYPE, DECIMALS, OUTSIDE
from modelmill.recipe.layout import Layout

# A side that leaves its image by less, in pixels, is put on its edge: decimal fractions of sides are rounded numbers.
_SLACK = 0.01
# Layouts with boxes.
LAYOUTS: tuple[Layout, ...] = ("coco", "yolo")


class Placed(NamedTuple):
    """Rows with boxes.

    Attributes:
        table: The rows, whose `boxes` are in pixels; `boxes_outside` counts those that leave the image or have no area.
        problems: Why a row's image is not that which the boxes are of; an empty text where it is.
    """

    table: pa.Table
    problems: list[str]


def place(table: pa.Table, layout: Layout) -> Placed:
    """Return rows with boxes in pixels, checked against the images.

    Args:
        table: Rows with the columns that are measured of their images.
        layout: One of LAYOUTS, or `metadata`, whose boxes are in pixels.
    """
    sizes = list(zip(table["width"].to_pylist(), table["height"].to_pylist(), strict=True))
    problems = [""] * len(sizes)
    if layout == "coco":
        said = zip(table[coco.WIDTH].to_pylist(), table[coco.HEIGHT].to_pylist(), strict=True)
        problems = [_differs(one, size) for one, size in zip(said, sizes, strict=True)]
        table = table.drop_columns([coco.WIDTH, coco.HEIGHT])
    scales = sizes if layout == "yolo" else [(1, 1)] * len(sizes)
    rows = [
        None if size[0] is None else [_box(box, scale, size) for box in found]
        for found, scale, size in zip(table[BOXES].to_pylist(), scales, sizes, strict=True)
    ]
    at = table.column_names.index(BOXES)
    table = table.set_column(at, BOXES, pa.array(rows, BOXES_TYPE))
    outside = [
        None if row is None else sum(not _is_inside(box, size) for box in row)
        for row, size in zip(rows, sizes, strict=True)
    ]
    return Placed(table.append_column(OUTSIDE, pa.array(outside, pa.int64())), problems)


def _differs(said: tuple[Any, Any], size: tuple[Any, Any]) -> str:
    if None in size or None in said or said == size:
        return ""
    return f"annotated as {said[0]} x {said[1]} pixels, and has {size[0]} x {size[1]} upright; its boxes are of another"


def _box(box: list[float], scale: tuple[float, float], size: tuple[int, int]) -> list[float]:
    sides = [round(side * scale[place % 2], DECIMALS) for place, side in enumerate(box)]
    return [_on_edge(side, size[place % 2]) for place, side in enumerate(sides)]


def _on_edge(side: float, length: int) -> float:
    if -_SLACK < side < 0:
        return 0.0
    return float(length) if length < side < length + _SLACK else side


def _is_inside(box: list[float], size: tuple[int, int]) -> bool:
    left, top, right, bottom = box
    return 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]
