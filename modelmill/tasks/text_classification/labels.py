"""Labels as numbers of classes, and the rows without one."""

from typing import NamedTuple

import numpy as np

from modelmill.core import digest
from modelmill.core.errors import UserError
from modelmill.corpus.in_memory import AllRows, chosen
from modelmill.tasks.text_classification.recipe import TextPreprocessing

UNLABELLED = -1


class Numbered(NamedTuple):
    """Labels as numbers.

    Attributes:
        labels: Numbers of `classes`, int64, (rows,), `UNLABELLED` where fine-tuning must not see the label.
        classes: Names of the classes.
    """

    labels: np.ndarray
    classes: list[str]


def without_empty(rows: AllRows, settings: TextPreprocessing) -> tuple[AllRows, int]:
    """Return the rows that have a text, and how many have none.

    Args:
        rows: All rows.
        settings: The recipe's section.

    Raises:
        UserError: A row has no text, and the recipe refuses that.
    """
    is_empty = [not str(text).strip() for text in rows.columns[settings.text]]
    if any(is_empty) and settings.empty_text == "refuse":
        raise UserError(
            f"preprocessing.text: row {is_empty.index(True) + 1:,} of the data, and {sum(is_empty)} in all, has an "
            f"empty {settings.text!r}; mend the data, or set preprocessing.empty_text: drop"
        )
    return chosen(rows, ~np.array(is_empty, bool)), sum(is_empty)


def number(rows: AllRows, settings: TextPreprocessing) -> tuple[AllRows, Numbered, int]:
    """Return the rows whose label is a class, their labels, and how many rows have another label.

    Args:
        rows: All rows.
        settings: The recipe's section.

    Raises:
        UserError: A row has another label and the recipe refuses that, or there are fewer than two classes.
    """
    names = np.array([str(label) for label in rows.columns[settings.label]], dtype=object)
    is_labelled = are_shown(rows, settings)
    classes = sorted(settings.labels or set(names[is_labelled].tolist()))
    if len(classes) < 2:
        count = "only one class" if classes else "no class"
        raise UserError(f"preprocessing.label: labelled training rows have {count}, a classifier needs two")
    known = np.isin(names, np.array(classes, dtype=object))
    if not known.all() and settings.unknown_label == "refuse":
        first = int(np.flatnonzero(~known)[0])
        raise UserError(unknown(names[first], rows.splits, first, int((~known).sum()), settings))
    places = {name: place for place, name in enumerate(classes)}
    kept, is_labelled = chosen(rows, known), is_labelled[known]
    numbers = np.array([places[name] for name in names[known]], np.int64)
    hidden = (kept.splits == "train") & ~is_labelled
    return kept, Numbered(np.where(hidden, UNLABELLED, numbers), classes), int((~known).sum())


def are_shown(rows: AllRows, settings: TextPreprocessing) -> np.ndarray:
    """Return the training rows whose label fine-tuning may see, bool, (rows,).

    Equal rows are drawn together, and a higher share keeps the rows of a lower one.
    """
    drawn = np.array([digest.fraction(f"labelled:{one:016x}") for one in rows.ids.tolist()])
    return (rows.splits == "train") & (drawn < settings.labelled)


def unknown(name: str, splits: np.ndarray, first: int, count: int, settings: TextPreprocessing) -> str:
    """Return the line for labels that are no class.

    Args:
        name: The first of them.
        splits: Split of each row.
        first: Number of its row.
        count: Rows with such a label.
        settings: The recipe's section.
    """
    what = "is not one of preprocessing.labels" if settings.labels else "has no labelled row in the training split"
    remedy = "add it there" if settings.labels else "raise preprocessing.labelled, add data"
    return (
        f"preprocessing.label: {name!r} of row {first + 1:,} ({splits[first]} split) {what}, as {count} rows "
        f"in all; {remedy}, or set preprocessing.unknown_label: drop"
    )
