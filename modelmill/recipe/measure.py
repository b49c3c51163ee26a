"""Metrics that two models are compared by."""

import math
from typing import NamedTuple


class Measure(NamedTuple):
    """A metric that is a ratio of two sums over the rows of single examples that an evaluation keeps.

    Attributes:
        value: Column that is summed in the numerator.
        per: Column that is summed in the denominator.
        higher_is_better: Whether a greater value is a better one.
        set: Set of examples that the rows are of.
        model: Model that was measured: `before` or `after` fine-tuning.
        scale: Factor of the numerator.
    """

    value: str = "loss"
    per: str = "weight"
    higher_is_better: bool = False
    set: str = "rows"
    model: str = "after"
    scale: float = 1.0


BITS = 1 / math.log(2)
LOSS = Measure()
ACCURACY = Measure("correct", higher_is_better=True)
