"""Two corpora in one data set, told apart by a column: one for each stage."""

from typing import Any

from pydantic import Field

from modelmill.recipe.sections import Section


class RowSelection(Section):
    """The rows that have one value in one column."""

    column: str = Field(description="Column that tells the rows apart.")
    value: str = Field(description="Value of the rows that are meant.")


# The name of the corpus where there is one alone; where there are two, each is named after its stage.
ONLY = "only"


def require_two(recipe: Any) -> None:
    """Check that a recipe with two stages has two corpora.

    Args:
        recipe: Recipe whose preprocessing has the key `fine_tune_on`.

    Raises:
        ValueError: Two stages are trained, and `fine_tune_on` does not name the rows of the second.
    """
    both = recipe.pretraining is not None and recipe.fine_tuning is not None
    if both and recipe.preprocessing.fine_tune_on is None:
        raise ValueError(
            "preprocessing.fine_tune_on: two stages need two corpora: name the rows for fine-tuning by column and "
            "value, or set pretraining or fine_tuning: none"
        )
