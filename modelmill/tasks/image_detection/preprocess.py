"""Preprocessing of pictures, boxes and labels into arrays: pictures with boxes, and pictures of single objects."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from modelmill.core.errors import UserError
from modelmill.corpus import in_memory, media
from modelmill.corpus.in_memory import AllRows
from modelmill.corpus.split import SPLITS
from modelmill.data.shard import Shard
from modelmill.runtime.step_runtime import Made, Step
from modelmill.tasks.image_detection.pictures import Unfit, fit
from modelmill.tasks.image_detection.recipe import PicturePreprocessing, Recipe

PICTURES, SINGLES = "pictures", "singles"


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


def preprocess(step: Step, shards: list[tuple[Shard, str]]) -> Made:
    """Return the corpus.

    Each split has `pictures` and `singles`. Pictures are images, uint8, (pictures, 3, size, size), with boxes in
    pixels, float32, (pictures, most, 4), and labels, int64, (pictures, most), -1 where there is none. Singles are
    images with one label each.

    Args:
        step: The running step.
        shards: The dataset's shards, each with the sha256 that was validated.

    Raises:
        UserError: A column is missing or not a list, an image cannot be read, the recipe refuses the content of a row,
            or a split lacks pictures with boxes.
    """
    recipe = step.recipe
    assert isinstance(recipe, Recipe)
    settings = recipe.preprocessing
    rows = in_memory.read(
        step, shards, {"preprocessing.boxes": settings.boxes, "preprocessing.labels": settings.labels}
    )
    kept: dict[str, list[tuple[RowObjects, np.ndarray]]] = {PICTURES: [], SINGLES: []}
    dropped = 0
    for known, pixels in _decoded(step, rows, settings):
        if known is None:
            dropped += 1
            continue
        kind = SINGLES if len(known.boxes) < len(known.labels) else PICTURES
        side = settings.single_size if kind == SINGLES else settings.size
        try:
            image, scale = fit(pixels, side, settings.small == "enlarge")
            require_inside(known.boxes, pixels)
        except Unfit as unfit:
            if settings.policies[unfit.policy] == "drop":
                dropped += 1
                continue
            raise UserError(_refusal(rows, known.row, unfit)) from None
        kept[kind].append((known._replace(boxes=known.boxes * scale), image))
    arrays = {split: _of_split(kept, rows, split) for split in SPLITS}
    sizes = {kind: sum(len(arrays[split][f"{kind}/ids"]) for split in SPLITS) for kind in kept}
    info = {"classes": settings.classes, "size": settings.size, "small": settings.small}
    made = in_memory.corpus(step, arrays, info)
    headline = f"{made.headline} with boxes; {sizes[SINGLES]:,} of single objects"
    counts = {"single_objects": sizes[SINGLES], "dropped": dropped}
    return replace(
        made, headline=headline + (f"; {dropped:,} left out" if dropped else ""), metrics=made.metrics | counts
    )


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


def _decoded(
    step: Step, rows: AllRows, settings: PicturePreprocessing
) -> Iterator[tuple[RowObjects | None, np.ndarray]]:
    """Yield the objects that each row names, None where the recipe drops it, and the pixels of its picture."""
    values = zip(rows.columns[settings.boxes], rows.columns[settings.labels], strict=True)
    for (row, (boxes, labels)), pixels in zip(enumerate(values), media.images(rows.files), strict=True):
        if row % 100 == 0:
            step.progress(row, len(rows.files), "pictures")
        try:
            yield parse(row, boxes, labels, settings.classes), pixels
        except Unfit as unfit:
            if settings.policies[unfit.policy] == "refuse":
                raise UserError(_refusal(rows, row, unfit)) from None
            yield None, pixels


def _refusal(rows: AllRows, row: int, unfit: Unfit) -> str:
    file = rows.files[row]
    other = ", or enlarge" if unfit.policy == "small" else ""
    return (
        f"preprocessing.{unfit.policy}: {file.name} of {file.shard.path}: {unfit}; mend the data, or leave such "
        f"pictures out: --set preprocessing.{unfit.policy}=drop{other}"
    )


def _of_split(kept: dict[str, list[tuple[RowObjects, np.ndarray]]], rows: AllRows, split: str) -> dict[str, np.ndarray]:
    most = max((len(known.labels) for known, _ in kept[PICTURES]), default=0)
    arrays: dict[str, np.ndarray] = {}
    for kind, all_of_it in kept.items():
        some = [(known, image) for known, image in all_of_it if rows.splits[known.row] == split]
        count, objects = len(some), 1 if kind == SINGLES else max(most, 1)
        boxes, labels = np.zeros((count, objects, 4), np.float32), np.full((count, objects), -1, np.int64)
        for place, (known, _) in enumerate(some):
            boxes[place, : len(known.boxes)] = known.boxes
            labels[place, : len(known.labels)] = known.labels
        arrays[f"{kind}/images"] = np.array([image for _, image in some], np.uint8)
        arrays[f"{kind}/labels"] = labels
        arrays[f"{kind}/ids"] = rows.ids[[known.row for known, _ in some]]
        if kind == PICTURES:
            arrays[f"{kind}/boxes"] = boxes
    return arrays
