"""Preprocessing of images and labels into arrays."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from modelmill.core.errors import UserError
from modelmill.corpus import in_memory, media, row_notes, streaming
from modelmill.corpus.example_shards import ShardedWriter
from modelmill.corpus.in_memory import AllRows
from modelmill.corpus.media import File
from modelmill.corpus.row_notes import Piece
from modelmill.corpus.split import SPLITS
from modelmill.data.shard import Shard
from modelmill.runtime.step_runtime import Made, Step
from modelmill.tasks.image_classification.recipe import ImagePreprocessing, Recipe

NONE = -1
# Settings that change no image.
UNREAD = frozenset({"label", "classes", "other_classes", "labelled_per_class", "unknown_label"})


class Numbered(NamedTuple):
    """Labels as numbers, `NONE` where training must not see one.

    Attributes:
        labels: Numbers of `classes`, which fine-tuning learns: int64, (rows,).
        others: Numbers of `other_classes`, which pretraining learns: int64, (rows,).
        classes: Names of the classes.
    """

    labels: np.ndarray
    others: np.ndarray
    classes: list[str]


def preprocess(step: Step, shards: list[tuple[Shard, str]]) -> Made:
    """Return the corpus.

    Each split has `labels` and `others` as in `Numbered`, and examples with `images`, uint8, (channels, size, size).

    Args:
        step: The running step.
        shards: The dataset's shards, each with the sha256 that was validated.

    Raises:
        UserError: A column is missing or null, an image cannot be decoded or is too small or a label unknown where the
            recipe refuses these, a split lacks a class, or a shard has changed.
    """
    recipe = step.recipe
    assert isinstance(recipe, Recipe)
    settings = recipe.preprocessing
    look = partial(_look, settings=settings)
    noted = row_notes.note(step, shards, {"preprocessing.label": settings.label}, [settings.label], look)
    is_large = noted.notes["large"]
    find = partial(streaming.file_of, shards, noted.shards)
    rows, numbered = number(in_memory.chosen(noted.rows, is_large), settings, find)
    key = "preprocessing.labelled_per_class"
    in_memory.require_classes(numbered.labels, rows.splits, numbered.classes, key)
    if settings.other_classes:
        in_memory.require_classes(numbered.others, rows.splits, settings.other_classes, key)
    work = partial(_encode, size=settings.size, channels=settings.channels)
    encoded, new = streaming.encode(step, shards, noted.where(rows), work, "images", UNREAD)
    both = {"labels": numbered.labels, "others": numbered.others}
    arrays = {split: {name: one[rows.splits == split] for name, one in both.items()} for split in SPLITS}
    info = {"classes": numbered.classes, "other_classes": settings.other_classes, "size": settings.size}
    made = streaming.corpus(step, encoded, info | {"channels": settings.channels}, arrays=arrays)
    labelled = int((arrays["train"]["labels"] >= 0).sum())
    dropped = {"dropped_small": int((~is_large).sum()), "dropped_unknown_label": int(is_large.sum()) - len(rows.ids)}
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


def number(rows: AllRows, settings: ImagePreprocessing, find: Callable[[int], File]) -> tuple[AllRows, Numbered]:
    """Return the rows whose label is known, and their labels.

    Args:
        rows: All rows.
        settings: The recipe's section.
        find: Returns the file of a row of the data set.

    Raises:
        UserError: A label is unknown and the recipe refuses that, or there are fewer than two classes.
    """
    names = np.array([str(label) for label in rows.columns[settings.label]], dtype=object)
    others = settings.other_classes
    classes = sorted(settings.classes or set(names[rows.splits == "train"].tolist()) - set(others))
    if len(classes) < 2:
        raise UserError(
            f"preprocessing.label: training rows have {len(classes)} classes beside preprocessing.other_classes, "
            "a classifier needs two"
        )
    is_known = np.isin(names, np.array([*classes, *others], dtype=object))
    if not is_known.all() and settings.unknown_label == "refuse":
        place = int(np.flatnonzero(~is_known)[0])
        file = find(place if rows.numbers is None else int(rows.numbers[place]))
        raise UserError(
            f"preprocessing.label: {file.shard.uri}: {file.name}: label {names[place]!r} is not one of "
            f"{', '.join([*classes, *others])}, as of {int((~is_known).sum())} images in all; add it to "
            "preprocessing.classes, mend the data, or set preprocessing.unknown_label: drop"
        )
    rows, names = in_memory.chosen(rows, is_known), names[is_known]
    labels = _numbers(names, classes)
    hidden = (rows.splits == "train") & ~_labelled(labels, rows, settings.labelled_per_class)
    return rows, Numbered(np.where(hidden, NONE, labels), _numbers(names, others), classes)


def _numbers(names: np.ndarray, classes: list[str]) -> np.ndarray:
    places = {name: place for place, name in enumerate(classes)}
    return np.array([places.get(name, NONE) for name in names], np.int64)


def _labelled(labels: np.ndarray, rows: AllRows, most: int | None) -> np.ndarray:
    """Return which training rows keep their label, bool, (rows,): of each class the first `most` by hash.

    A higher number keeps the rows of a lower one.
    """
    if most is None:
        return np.ones(len(labels), bool)
    is_labelled = np.zeros(len(labels), bool)
    for label in range(int(labels.max()) + 1):
        members = np.flatnonzero((labels == label) & (rows.splits == "train"))
        is_labelled[members[np.argsort(rows.ids[members], kind="stable")[:most]]] = True
    return is_labelled
