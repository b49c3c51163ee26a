"""The split that a record is in: by a hash of its identity, so that it never moves when data is added."""

from modelmill.core import digest
from modelmill.recipe.sections import Preparation

SPLITS = ("train", "validation", "test")


def split_of(identity: str, settings: Preparation) -> str:
    """Return the split of a record: `train`, `validation` or `test`.

    It depends on the record's identity and the fractions alone. Widening a fraction only moves records out of training.
    """
    # The prefix keeps the draw independent of other uses of the same hash, such as spreading files over shards.
    drawn = digest.fraction("split:" + identity)
    if drawn < settings.test:
        return "test"
    # Validation is taken from the far end: changing one fraction leaves the other split as it is.
    return "validation" if drawn >= 1 - settings.validation else "train"
