"""Preprocessing of pictures, boxes and labels into arrays: pictures with boxes, and pictures of single objects."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from modelmill.core.errors import UserError
from modelmill.corpus import in_memory, media
from modelmill.corpus.in_memory import AllRows
from modelmill.corpus.split import SPLITS
from modelmill.data.shard import Shard
from modelmill.recipe.pretrained import PretrainedModel
from modelmill.runtime.step_runtime import Made, Step
from modelmill.tasks.image_detection import encoded
from modelmill.tasks.image_detection.objects import RowObjects, clipped, parse, refusal, require_inside
from modelmill.tasks.image_detection.pictures import Unfit, fit
from modelmill.tasks.image_detection.recipe import PicturePreprocessing, Recipe

PICTURES, SINGLES = "pictures", "singles"


def preprocess(step: Step, shards: list[tuple[Shard, str]]) -> Made:
    """Return the corpus.

    Each split has `pictures` and `singles`. Pictures are images, uint8, (pictures, 3, size, size), with boxes in
    pixels, float32, (pictures, most, 4), and labels, int64, (pictures, most), -1 where there is none. Singles are
    images with one label each. That of a checkpoint's detector is what `encoded.corpus` says.

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
    if isinstance(recipe.model, PretrainedModel):
        return encoded.corpus(step, shards, settings)
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
        side = settings.single_side if kind == SINGLES else settings.side
        try:
            image, scale = fit(pixels, side, settings.small == "enlarge")
            if settings.bad_box == "clip" and kind == PICTURES:
                known = clipped(known, pixels)
            require_inside(known.boxes, pixels)
        except Unfit as unfit:
            if settings.policies[unfit.policy] == "drop":
                dropped += 1
                continue
            raise UserError(refusal(rows, known.row, unfit)) from None
        kept[kind].append((known._replace(boxes=known.boxes * scale), image))
    arrays = {split: _of_split(kept, rows, split) for split in SPLITS}
    sizes = {kind: sum(len(arrays[split][f"{kind}/ids"]) for split in SPLITS) for kind in kept}
    info = {"classes": settings.classes, "size": settings.side, "small": settings.small}
    made = in_memory.corpus(step, arrays, info)
    headline = f"{made.headline} with boxes; {sizes[SINGLES]:,} of single objects"
    counts = {"single_objects": sizes[SINGLES], "dropped": dropped}
    return replace(
        made, headline=headline + (f"; {dropped:,} left out" if dropped else ""), metrics=made.metrics | counts
    )


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
            if settings.policies[unfit.policy] != "drop":
                raise UserError(refusal(rows, row, unfit)) from None
            yield None, pixels


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
