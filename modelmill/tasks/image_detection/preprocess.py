"""Preprocessing of pictures, boxes and labels into arrays: pictures with boxes, and pictures of single objects."""

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from modelmill.core.errors import UserError
from modelmill.corpus import media, row_notes, streaming
from modelmill.corpus.example_shards import ShardedWriter
from modelmill.corpus.media import File
from modelmill.corpus.row_notes import Piece
from modelmill.corpus.split import SPLITS
from modelmill.data.shard import Shard
from modelmill.runtime.step_runtime import Made, Step
from modelmill.tasks.image_detection.pictures import Unfit, fit
from modelmill.tasks.image_detection.recipe import PICTURES, SINGLES, PicturePreprocessing, Recipe


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

    Each split has `pictures` and `singles`. Pictures have `images`, uint8, (3, size, size), `boxes` in pixels, float32,
    (objects, 4), and `labels`, int64, (objects,). Singles have images, and one label each.

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
    columns = {"preprocessing.boxes": settings.boxes, "preprocessing.labels": settings.labels}
    noted = row_notes.note(step, shards, columns)
    encoded, new = streaming.encode(step, shards, noted.shards, partial(_encode, settings=settings), "pictures")
    singles = sum(streaming.count(encoded, f"{split}/{SINGLES}", "examples") for split in SPLITS)
    most = streaming.count(encoded, "all", "most_objects")
    info = {"classes": settings.classes, "size": settings.size, "small": settings.small, "most_objects": max(most, 1)}
    made = streaming.corpus(step, encoded, info, folder=PICTURES)
    dropped = streaming.count(encoded, "all", "dropped")
    headline = f"{made.headline} with boxes; {singles:,} of single objects"
    counts = {"single_objects": singles, "dropped": dropped, "new_shards": new}
    return replace(
        made, headline=headline + (f"; {dropped:,} left out" if dropped else ""), metrics=made.metrics | counts
    )


def _encode(piece: Piece, writer: ShardedWriter, *, settings: PicturePreprocessing) -> dict[str, dict[str, int]]:
    """Write pictures, scaled to the detector's field, with what they show; return how many rows are left out."""
    dropped = most = 0
    values = zip(piece.values(settings.boxes), piece.values(settings.labels), media.images(piece.files), strict=True)
    for place, (boxes, labels, pixels) in enumerate(values):
        try:
            known = parse(piece.rows[place], boxes, labels, settings.classes)
            kind = SINGLES if len(known.boxes) < len(known.labels) else PICTURES
            side = settings.single_size if kind == SINGLES else settings.size
            image, scale = fit(pixels, side, settings.small == "enlarge")
            require_inside(known.boxes, pixels)
        except Unfit as unfit:
            if settings.policies[unfit.policy] == "refuse":
                raise UserError(_refusal(piece.files[place], unfit)) from None
            dropped += 1
            continue
        objects = {"labels": known.labels} | ({"boxes": known.boxes * scale} if kind == PICTURES else {})
        writer.add(f"{piece.splits[place]}/{kind}", piece.ids[place], {"images": image, **objects})
        most = max(most, len(known.labels)) if kind == PICTURES else most
    return {"all": {"dropped": dropped, "most_objects": most}}


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


def _refusal(file: File, unfit: Unfit) -> str:
    other = ", or enlarge" if unfit.policy == "small" else ""
    return (
        f"preprocessing.{unfit.policy}: {file.name} of {file.shard.path}: {unfit}; mend the data, or leave such "
        f"pictures out: --set preprocessing.{unfit.policy}=drop{other}"
    )
