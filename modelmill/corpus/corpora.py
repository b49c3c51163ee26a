"""A data set of two corpora, one for each stage: which rows are in which."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from modelmill.core.errors import UserError
from modelmill.corpus.in_memory import AllRows
from modelmill.corpus.settings import ONLY, RowSelection
from modelmill.corpus.split import key_of
from modelmill.recipe.sections import Preparation

PRETRAINING, FINE_TUNING = "pretraining", "fine_tuning"


def members(rows: AllRows, chosen: RowSelection | None) -> dict[str, np.ndarray]:
    """Return which rows are in each corpus, that of the run's final model first: bool, (rows,), by name."""
    if chosen is None:
        return {ONLY: np.ones(len(rows.ids), bool)}
    are_chosen = np.array([str(value) == chosen.value for value in rows.columns[chosen.column]])
    return {FINE_TUNING: are_chosen, PRETRAINING: ~are_chosen}


def names(values: Callable[[str], Sequence[Any]], chosen: RowSelection | None, count: int) -> list[str]:
    """Return the name of the corpus of each of some rows.

    Args:
        values: Returns the rows' values of a column.
        chosen: The recipe's selection of the rows for fine-tuning, if there are two corpora.
        count: How many rows there are.
    """
    if chosen is None:
        return [ONLY] * count
    return [FINE_TUNING if str(value) == chosen.value else PRETRAINING for value in values(chosen.column)]


def require(
    count: int, what: str, corpus: str, split: str, rows: AllRows, chosen: RowSelection | None, settings: Preparation
) -> None:
    """Check that a split of a corpus has rows.

    Args:
        count: How many rows of the corpus are in the split.
        what: The noun for such a row, for the message.
        corpus: Name of the corpus.
        split: Name of the split.
        rows: All rows.
        chosen: The recipe's selection of the rows for fine-tuning, if there are two corpora.
        settings: The recipe's section.

    Raises:
        UserError: There are none.
    """
    if count:
        return
    if chosen is not None:
        values = {str(value) for value in rows.columns[chosen.column]}
        if chosen.value not in values or values == {chosen.value}:
            some = ", ".join(repr(value) for value in sorted(values)[:5])
            problem = "no row has" if chosen.value not in values else "every row has"
            raise UserError(
                f"preprocessing.fine_tune_on: {problem} {chosen.value!r} in column {chosen.column!r}, so that nothing "
                f"is left for {corpus}; its values are {some}"
            )
    of = "" if chosen is None else f" of {corpus}"
    raise UserError(f"{key_of(split, settings)}: no {what}{of} is in the {split} split; change it, or add data")
