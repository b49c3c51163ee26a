"""The objects that a row of the data names, and what is wrong with them."""

from typing import Any, NamedTuple

import numpy as np

from modelmill.corpus.media import File
from modelmill.tasks.image_detection.pictures import Unfit


class RowObjects(NamedTuple):
    """The objects that a row names.

    Attributes:
        row: Number of the row.
        boxes: Left, top, right and bottom in pixels of the file, float32, (objects, 4).
        labels: Numbers of classes, int64, (objects,).
    """

    row: int
    boxes: np.ndarray
    labels: np.ndarray


def parse(row: int, boxes: Any, labels: Any, classes: list[str]) -> RowObjects:
    """Return the objects that a row names.

    Args:
        row: Number of the row.
        boxes: Value of the column of boxes.
        labels: Value of the column of labels.
        classes: Names of the classes.

    Raises:
        Unfit: The values are not lists of boxes and labels that fit each other, or a label is not among the classes.
    """
    if not isinstance(boxes, list) or not isinstance(labels, list):
        raise Unfit("bad_box", "boxes and labels are no lists")
    if len(boxes) != len(labels) and (boxes or len(labels) != 1):
        raise Unfit("bad_box", f"{len(boxes)} boxes and {len(labels)} labels; each label needs its box, or one none")
    for label in labels:
        if str(label) not in classes:
            raise Unfit("unknown_label", f"label {str(label)!r} is not one of preprocessing.classes")
    for box in boxes:
        if not isinstance(box, list) or len(box) != 4 or not all(isinstance(side, int | float) for side in box):
            raise Unfit("bad_box", f"box {box} is not left, top, right and bottom")
    numbers = [classes.index(str(label)) for label in labels]
    return RowObjects(row, np.array(boxes, np.float32).reshape(-1, 4), np.array(numbers, np.int64))


def require_inside(boxes: np.ndarray, pixels: np.ndarray) -> None:
    """Check that boxes are inside a picture.

    Args:
        boxes: Left, top, right and bottom in pixels, (objects, 4).
        pixels: The picture, (height, width, 3).

    Raises:
        Unfit: A box has no area, or is not wholly in the picture.
    """
    height, width = pixels.shape[:2]
    for left, top, right, bottom in boxes.tolist():
        box = f"box [{left:g}, {top:g}, {right:g}, {bottom:g}]"
        if not (left < right and top < bottom):
            raise Unfit("bad_box", f"{box} has no area")
        if left < 0 or top < 0 or right > width or bottom > height:
            raise Unfit("bad_box", f"{box} is not in the picture of {width} x {height} pixels")


def clipped(known: RowObjects, pixels: np.ndarray) -> RowObjects:
    """Return objects with their boxes cut at the edges of a picture; those of which nothing is left are left out.

    Args:
        known: The objects.
        pixels: The picture, (height, width, 3).
    """
    height, width = pixels.shape[:2]
    boxes = known.boxes.clip(0, np.array([width, height] * 2, np.float32))
    is_there = (boxes[:, 2:] > boxes[:, :2]).all(1)
    return known._replace(boxes=boxes[is_there], labels=known.labels[is_there])


def refusal(file: File, unfit: Unfit) -> str:
    """Return the message of a run that the recipe stops at a row that does not fit.

    Args:
        file: The row's picture.
        unfit: What is wrong with it.
    """
    other = {"small": ", or enlarge", "bad_box": ", or cut boxes at the edges: clip"}.get(unfit.policy, "")
    return (
        f"preprocessing.{unfit.policy}: {file.name} of {file.shard.path}: {unfit}; mend the data, or leave such "
        f"pictures out: --set preprocessing.{unfit.policy}=drop{other}"
    )
