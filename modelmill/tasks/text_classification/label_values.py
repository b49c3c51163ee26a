"""Labels of rows, of any kind, as arrays."""

import json
import math
from typing import Any, NamedTuple

import numpy as np

from modelmill.core.errors import UserError
from modelmill.corpus.in_memory import AllRows, chosen
from modelmill.tasks.text_classification import labels
from modelmill.tasks.text_classification.kinds import HIDDEN, MULTI, NUMBER
from modelmill.tasks.text_classification.recipe import TextPreprocessing


class Labels(NamedTuple):
    """The labels of rows.

    Attributes:
        values: As `kinds.is_labelled` has them.
        classes: Names of the classes, or of the number.
        scale: Mean and standard deviation of the training rows' numbers.
    """

    values: np.ndarray
    classes: list[str]
    scale: tuple[float, float] | None = None

    @property
    def info(self) -> dict[str, Any]:
        """Return what training has to know of them."""
        return {"classes": self.classes} | ({"label_scale": list(self.scale)} if self.scale else {})


def of_rows(rows: AllRows, settings: TextPreprocessing) -> tuple[AllRows, Labels, int]:
    """Return the rows with a label that the model can learn, their labels, and how many rows have another.

    Args:
        rows: All rows.
        settings: The recipe's section.

    Raises:
        UserError: A label is none of its kind, or is unknown and the recipe refuses that; or there is nothing to learn.
    """
    if settings.label_kind == MULTI:
        return _several(rows, settings)
    if settings.label_kind == NUMBER:
        return _numbers(rows, settings)
    kept, numbered, unknown = labels.number(rows, settings)
    return kept, Labels(numbered.labels, numbered.classes), unknown


def _several(rows: AllRows, settings: TextPreprocessing) -> tuple[AllRows, Labels, int]:
    given = [_listed(value, number, settings) for number, value in enumerate(rows.columns[settings.label])]
    shown = labels.are_shown(rows, settings)
    classes = sorted(settings.labels or {name for its, one in zip(given, shown, strict=True) if one for name in its})
    if len(classes) < 2:
        raise UserError(
            f"preprocessing.label: labelled training rows have {len(classes)} labels in {settings.label!r}; a model of "
            "any number of labels needs two"
        )
    strange = [sorted(its - set(classes)) for its in given]
    is_known = np.array([not names for names in strange], bool)
    if not is_known.all() and settings.unknown_label == "refuse":
        first = int(np.flatnonzero(~is_known)[0])
        raise UserError(labels.unknown(strange[first][0], rows.splits, first, int((~is_known).sum()), settings))
    kept, shown = chosen(rows, is_known), shown[is_known]
    has = np.array([[name in its for name in classes] for its, one in zip(given, is_known, strict=True) if one])
    values = has.astype(np.uint8).reshape(-1, len(classes))
    if lacking := [name for name, count in zip(classes, values[shown].sum(axis=0), strict=True) if not count]:
        raise UserError(
            f"preprocessing.label: no labelled training row has the label {lacking[0]!r}; raise "
            "preprocessing.labelled, add data, or leave the label out"
        )
    values[(kept.splits == "train") & ~shown] = HIDDEN
    return kept, Labels(values, classes), int((~is_known).sum())


def _listed(value: Any, number: int, settings: TextPreprocessing) -> set[str]:
    """Return the labels of a row, which a CSV file has as JSON."""
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        found = None
    if not isinstance(found, list) or any(isinstance(one, list | dict) or one is None for one in found):
        raise UserError(
            f"preprocessing.label: row {number + 1:,} of the data: column {settings.label!r} has {str(value)[:40]!r}, "
            'which is no list of labels, such as ["a", "b"]; mend it, or set preprocessing.label_kind: single'
        )
    return {str(one) for one in found}


def _numbers(rows: AllRows, settings: TextPreprocessing) -> tuple[AllRows, Labels, int]:
    values = np.array([_number(value) for value in rows.columns[settings.label]], np.float64)
    is_known = np.isfinite(values)
    if not is_known.all() and settings.unknown_label == "refuse":
        first = int(np.flatnonzero(~is_known)[0])
        raise UserError(
            f"preprocessing.label: {rows.columns[settings.label][first]!r} of row {first + 1:,} is no number, as "
            f"{int((~is_known).sum())} rows in all; mend the data, set preprocessing.unknown_label: drop, or "
            "preprocessing.label_kind: single"
        )
    kept, values = chosen(rows, is_known), values[is_known]
    shown = labels.are_shown(kept, settings)
    if not len(values[shown]) or not np.ptp(values[shown]):
        raise UserError(
            f"preprocessing.label: {settings.label!r} has no two different numbers in labelled training rows: there is "
            "nothing to learn"
        )
    scale = (float(values[shown].mean()), float(values[shown].std()))
    hidden = (kept.splits == "train") & ~shown
    return kept, Labels(np.where(hidden, np.nan, values), [settings.label], scale), int((~is_known).sum())


def _number(value: Any) -> float:
    try:
        return math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return math.nan
