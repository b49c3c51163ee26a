"""Preprocessing of images and labels into arrays."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from modelmill.core.errors import UserError
from modelmill.corpus import in_memory, media
from modelmill.corpus.in_memory import AllRows
from modelmill.data.shard import Shard
from modelmill.runtime.step_runtime import Made, Step
from modelmill.tasks.image_classification.recipe import ImagePreprocessing, Recipe

NONE = -1


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

    Each split has `images`, uint8, (rows, channels, size, size), `labels` and `others` as in `Numbered`, and `ids`.

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
    rows = in_memory.read(step, shards, {"preprocessing.label": settings.label})
    images, is_large = media.squares(step, rows.files, settings)
    rows = in_memory.chosen(rows, is_large)
    rows, images, numbered = number(rows, images, settings)
    key = "preprocessing.labelled_per_class"
    in_memory.require_classes(numbered.labels, rows.splits, numbered.classes, key)
    if settings.other_classes:
        in_memory.require_classes(numbered.others, rows.splits, settings.other_classes, key)
    arrays = {"images": images, "labels": numbered.labels, "others": numbered.others}
    info = {"classes": numbered.classes, "other_classes": settings.other_classes, "size": settings.size}
    made = in_memory.corpus(step, in_memory.by_split(rows, arrays), info | {"channels": settings.channels})
    labelled = int((numbered.labels[rows.splits == "train"] >= 0).sum())
    dropped = {"dropped_small": int((~is_large).sum()), "dropped_unknown_label": int(is_large.sum()) - len(rows.ids)}
    headline = f"{made.headline}; {labelled:,} labelled"
    headline += f", {sum(dropped.values()):,} dropped" if any(dropped.values()) else ""
    return replace(made, headline=headline, metrics=made.metrics | {"labelled_examples": labelled} | dropped)


def number(rows: AllRows, images: np.ndarray, settings: ImagePreprocessing) -> tuple[AllRows, np.ndarray, Numbered]:
    """Return the rows whose label is known, their images, and their labels.

    Args:
        rows: All rows.
        images: Their images, uint8, (rows, channels, size, size).
        settings: The recipe's section.

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
        file = rows.files[place]
        raise UserError(
            f"preprocessing.label: {file.shard.uri}: {file.name}: label {names[place]!r} is not one of "
            f"{', '.join([*classes, *others])}, as of {int((~is_known).sum())} images in all; add it to "
            "preprocessing.classes, mend the data, or set preprocessing.unknown_label: drop"
        )
    rows, names, images = in_memory.chosen(rows, is_known), names[is_known], images[is_known]
    labels = _numbers(names, classes)
    hidden = (rows.splits == "train") & ~_labelled(labels, rows, settings.labelled_per_class)
    return rows, images, Numbered(np.where(hidden, NONE, labels), _numbers(names, others), classes)


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
