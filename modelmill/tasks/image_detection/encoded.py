"""The corpus of a checkpoint's detector: pictures as the files that they are, shard by shard, with their boxes.

The checkpoint's processor prepares a picture when training or evaluation asks for it, so that a corpus takes no more
room than its files, and preprocessing no more memory than a few pictures.
"""

from dataclasses import replace
from functools import partial

import numpy as np

from modelmill.core.errors import UserError
from modelmill.corpus import checkpoint, media, row_notes, streaming
from modelmill.corpus.example_shards import ShardedWriter
from modelmill.corpus.row_notes import Piece
from modelmill.data.shard import Shard
from modelmill.recipe.pretrained import AUTO
from modelmill.runtime.step_runtime import Made, Step
from modelmill.tasks.image_detection import processor
from modelmill.tasks.image_detection.objects import clipped, parse, refusal, require_inside
from modelmill.tasks.image_detection.pictures import Unfit
from modelmill.tasks.image_detection.processor import Unprepared
from modelmill.tasks.image_detection.recipe import PicturePreprocessing

# What a corpus has of each picture, by the names of its arrays.
FILE, SIZE, BOXES, LABELS = "file", "size", "boxes", "labels"
# Settings that make no difference to what there is of a shard.
_UNREAD = frozenset({"processor", "size", "single_size", "small"})


def corpus(step: Step, shards: list[tuple[Shard, str]], settings: PicturePreprocessing) -> Made:
    """Return the corpus: the checkpoint's description, and of each picture `file`, `size`, `boxes` and `labels`.

    `file` has the bytes of the picture's file, uint8; `size` its height and width, int64, (2,); `boxes` are in pixels,
    float32, (objects, 4); `labels` are int64, (objects,).

    Args:
        step: The running step.
        shards: The dataset's shards, each with the sha256 that was validated.
        settings: The recipe's `preprocessing`.

    Raises:
        UserError: The checkpoint has no image processor of a detector, a column is missing or not a list, an image
            cannot be read, the recipe refuses the content of a row, or a split has no picture.
    """
    files = _described(step, settings)
    columns = {"preprocessing.boxes": settings.boxes, "preprocessing.labels": settings.labels}
    noted = row_notes.note(step, shards, columns)
    work = partial(_encode, settings=settings)
    encoded, new = streaming.encode(step, shards, noted.shards, work, "pictures as they are", _UNREAD)
    made = streaming.corpus(step, encoded, {"model": AUTO, "classes": settings.classes}, files)
    dropped = streaming.count(encoded, "all", "dropped")
    return replace(
        made,
        headline=made.headline + (f"; {dropped:,} left out" if dropped else ""),
        metrics=made.metrics | {"dropped": dropped, "new_shards": new},
    )


def _described(step: Step, settings: PicturePreprocessing) -> dict[str, bytes]:
    """Return the files that describe the checkpoint, whose processor is tried and has the recipe's size.

    Raises:
        UserError: It has none that prepares pictures for a detector here.
    """
    assert settings.given_checkpoint is not None
    folder = checkpoint.the_checkpoint(step, settings.checkpoint_key, settings.given_checkpoint)
    files, size = checkpoint.files(folder), settings.processor.size
    try:
        processor.load(folder)
        return files if size is None else processor.with_size(files, size)
    except Unprepared as error:
        raise UserError(f"{settings.checkpoint_key}: {settings.given_checkpoint}: {error}") from error


def _encode(piece: Piece, writer: ShardedWriter, *, settings: PicturePreprocessing) -> dict[str, dict[str, int]]:
    """Write the files of pictures with what they show; return how many rows are left out.

    Raises:
        UserError: The recipe refuses the content of a row.
    """
    dropped = 0
    values = (piece.values(settings.boxes), piece.values(settings.labels), media.encoded_images(piece.files))
    for place, (boxes, labels, (data, pixels)) in enumerate(zip(*values, strict=True)):
        try:
            known = parse(piece.rows[place], boxes, labels, settings.classes)
            if len(known.boxes) < len(known.labels):
                raise Unfit("bad_box", f"label {str(labels[0])!r} has no box, and model.type: auto learns from boxes")
            if settings.bad_box == "clip":
                known = clipped(known, pixels)
            require_inside(known.boxes, pixels)
        except Unfit as unfit:
            if settings.policies[unfit.policy] != "drop":
                raise UserError(refusal(piece.files[place], unfit)) from None
            dropped += 1
            continue
        picture: dict[str, np.ndarray] = {
            FILE: np.frombuffer(data, np.uint8),
            SIZE: np.array(pixels.shape[:2], np.int64),
        }
        objects: dict[str, np.ndarray] = {BOXES: known.boxes, LABELS: known.labels}
        writer.add(piece.splits[place], piece.ids[place], picture | objects)
    return {"all": {"dropped": dropped}}
