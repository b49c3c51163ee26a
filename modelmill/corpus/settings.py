"""Two corpora in one data set, told apart by a column: one for each stage."""

from typing import Any

from modelmill.recipe.sections import Section


class Rows(Section):
    """The rows whose `column` is `value`."""

    column: str
    value: str


# The name of the corpus where there is one alone; where there are two, each is named after its stage.
ONLY = "only"


def require_two(recipe: Any) -> None:
    """
    Raises:
        ValueError: two stages are trained, and `preprocessing.fine_tune_on` does not name the rows of the second.
    """
    both = recipe.pretraining is not None and recipe.fine_tuning is not None
    if both and recipe.preprocessing.fine_tune_on is None:
        raise ValueError(
            "preprocessing.fine_tune_on: two stages need two corpora: name the rows for fine-tuning by column and "
            "value, or set pretraining or fine_tuning: none"
        )
