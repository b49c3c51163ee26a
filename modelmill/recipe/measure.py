"""What two models are compared by."""

import math
from typing import NamedTuple


class Measure(NamedTuple):
    """A metric that is a ratio of two sums over a set of examples (see `comparison.rows`): of the column `value` times
    `scale`, and of the column `per`.
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
