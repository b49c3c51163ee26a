"""Preprocessing of pictures, boxes and labels into arrays: pictures with boxes, and pictures of single objects."""

from dataclasses import replace
from functools import partial

from modelmill.core.errors import UserError
from modelmill.corpus import media, row_notes, streaming
from modelmill.corpus.example_shards import ShardedWriter
from modelmill.corpus.row_notes import Piece
from modelmill.corpus.split import SPLITS
from modelmill.data.shard import Shard
from modelmill.recipe.pretrained import PretrainedModel
from modelmill.runtime.step_runtime import Made, Step
from modelmill.tasks.image_detection import encoded
from modelmill.tasks.image_detection.objects import clipped, parse, refusal, require_inside
from modelmill.tasks.image_detection.pictures import Unfit, fit
from modelmill.tasks.image_detection.recipe import PICTURES, SINGLES, PicturePreprocessing, Recipe


def preprocess(step: Step, shards: list[tuple[Shard, str]]) -> Made:
    """Return the corpus.

    Each split has `pictures` and `singles`. Pictures have `images`, uint8, (3, size, size), `boxes` in pixels, float32,
    (objects, 4), and `labels`, int64, (objects,). Singles have images, and one label each. That of a checkpoint's
    detector is what `encoded.corpus` says.

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
    columns = {"preprocessing.boxes": settings.boxes, "preprocessing.labels": settings.labels}
    noted = row_notes.note(step, shards, columns)
    made_shards, new = streaming.encode(step, shards, noted.shards, partial(_encode, settings=settings), "pictures")
    singles = sum(streaming.count(made_shards, f"{split}/{SINGLES}", "examples") for split in SPLITS)
    most = streaming.count(made_shards, "all", "most_objects")
    info = {"classes": settings.classes, "size": settings.side, "small": settings.small, "most_objects": max(most, 1)}
    made = streaming.corpus(step, made_shards, info, folder=PICTURES)
    dropped = streaming.count(made_shards, "all", "dropped")
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
            side = settings.single_side if kind == SINGLES else settings.side
            image, scale = fit(pixels, side, settings.small == "enlarge")
            if settings.bad_box == "clip" and kind == PICTURES:
                known = clipped(known, pixels)
            require_inside(known.boxes, pixels)
        except Unfit as unfit:
            if settings.policies[unfit.policy] != "drop":
                raise UserError(refusal(piece.files[place], unfit)) from None
            dropped += 1
            continue
        objects = {"labels": known.labels} | ({"boxes": known.boxes * scale} if kind == PICTURES else {})
        writer.add(f"{piece.splits[place]}/{kind}", piece.ids[place], {"images": image, **objects})
        most = max(most, len(known.labels)) if kind == PICTURES else most
    return {"all": {"dropped": dropped, "most_objects": most}}
