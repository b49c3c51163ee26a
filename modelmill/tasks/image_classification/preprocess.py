"""Preprocessing of images and labels: into arrays, or for a checkpoint as the files that they are."""

from dataclasses import replace
from functools import partial

import numpy as np

from modelmill.corpus import in_memory, media, row_notes, streaming
from modelmill.corpus.example_shards import ShardedWriter
from modelmill.corpus.in_memory import AllRows
from modelmill.corpus.row_notes import Piece
from modelmill.corpus.split import SPLITS
from modelmill.data.shard import Shard
from modelmill.recipe.pretrained import PretrainedModel
from modelmill.runtime.step_runtime import Made, Step
from modelmill.tasks.image_classification import encoded
from modelmill.tasks.image_classification.labels import Numbered, number
from modelmill.tasks.image_classification.recipe import ImagePreprocessing, Recipe

LABELLED = "preprocessing.labelled_per_class"
# Settings that change no image.
UNREAD = frozenset({"label", "classes", "other_classes", "labelled_per_class", "unknown_label"})


def preprocess(step: Step, shards: list[tuple[Shard, str]]) -> Made:
    """Return the corpus.

    Each split has `labels` and `others` as in `Numbered`, and examples with `images`, uint8, (channels, size, size).
    That of a checkpoint is what `encoded.corpus` says.

    Args:
        step: The running step.
        shards: The dataset's shards, each with the sha256 that was validated.

    Raises:
        UserError: A column is missing or null, an image cannot be decoded or is too small or a label unknown where the
            recipe refuses these, a split lacks a class, or a shard has changed.
    """
    recipe = step.recipe
    assert isinstance(recipe, Recipe)
    settings, is_given = recipe.preprocessing, isinstance(recipe.model, PretrainedModel)
    look = None if is_given else partial(_look, settings=settings)
    noted = row_notes.note(step, shards, {"preprocessing.label": settings.label}, [settings.label], look)
    is_large = np.ones(len(noted.rows.ids), bool) if is_given else noted.notes["large"]
    find = partial(streaming.file_of, shards, noted.shards)
    rows, numbered = number(in_memory.chosen(noted.rows, is_large), settings, find)
    _require_classes(rows, numbered, settings)
    chosen = noted.where(rows)
    if is_given:
        made, new = encoded.corpus(step, shards, chosen, labels_of(rows, numbered), numbered.classes)
    else:
        work = partial(_encode, size=settings.size, channels=settings.channels)
        made_shards, new = streaming.encode(step, shards, chosen, work, "images", UNREAD)
        info = {"classes": numbered.classes, "other_classes": settings.other_classes, "size": settings.size}
        info |= {"channels": settings.channels}
        made = streaming.corpus(step, made_shards, info, arrays=labels_of(rows, numbered))
    dropped = {} if is_given else {"dropped_small": int((~is_large).sum())}
    dropped |= {"dropped_unknown_label": int(is_large.sum()) - len(rows.ids)}
    return _described(made, rows, numbered, dropped, new)


def labels_of(rows: AllRows, numbered: Numbered) -> dict[str, dict[str, np.ndarray]]:
    """Return the labels of each split's rows, by split and name."""
    both = {"labels": numbered.labels, "others": numbered.others}
    return {split: {name: one[rows.splits == split] for name, one in both.items()} for split in SPLITS}


def _require_classes(rows: AllRows, numbered: Numbered, settings: ImagePreprocessing) -> None:
    in_memory.require_classes(numbered.labels, rows.splits, numbered.classes, LABELLED)
    if settings.other_classes:
        in_memory.require_classes(numbered.others, rows.splits, settings.other_classes, LABELLED)


def _described(made: Made, rows: AllRows, numbered: Numbered, dropped: dict[str, int], new: int) -> Made:
    """Return the corpus with what became of the rows, in words and numbers."""
    labelled = int((numbered.labels[rows.splits == "train"] >= 0).sum())
    headline = f"{made.headline}; {labelled:,} labelled"
    headline += f", {sum(dropped.values()):,} dropped" if any(dropped.values()) else ""
    counts = {"labelled_examples": labelled, **dropped, "new_shards": new}
    return replace(made, headline=headline, metrics=made.metrics | counts)


def _look(piece: Piece, settings: ImagePreprocessing) -> dict[str, np.ndarray]:
    """Note which images are large enough."""
    sizes = zip(piece.files, piece.values("width"), piece.values("height"), strict=True)
    return {"large": np.array([media.is_large(*one, settings) for one in sizes], bool)}


def _encode(piece: Piece, writer: ShardedWriter, *, size: int, channels: int) -> dict[str, dict[str, int]]:
    """Write the images, scaled and cut to squares."""
    from modelmill.data.media.images import fitted

    for split, identity, image in zip(piece.splits, piece.ids, media.images(piece.files, channels), strict=True):
        writer.add(split, identity, {"images": fitted(image, size).transpose(2, 0, 1)})
    return {}
