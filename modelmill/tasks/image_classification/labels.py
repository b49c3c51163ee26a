"""Labels of images as numbers, and which of them each stage sees."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from modelmill.core.errors import UserError
from modelmill.corpus import in_memory
from modelmill.corpus.in_memory import AllRows
from modelmill.corpus.media import File
from modelmill.tasks.image_classification.recipe import ImagePreprocessing

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
