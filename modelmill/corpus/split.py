"""The split that a record is in: by a hash of its identity, so that it never moves when data is added."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

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


def identify(
    columns: Mapping[str, Sequence[Any]], contents: Sequence[tuple[str, ...]], settings: Preparation
) -> tuple[list[str], list[int]]:
    """Return the split and the identity of each row.

    The split goes by the hash of `split_by` or of the whole row; the identity, 64 bits, is equal for equal rows.

    Args:
        columns: Values by column.
        contents: What else a row is made of, such as the digest of its file.
        settings: The recipe's section.
    """
    rows = zip(*columns.values(), strict=True) if columns else [()] * len(contents)
    wholes = [json.dumps(row + content, default=str) for row, content in zip(rows, contents, strict=True)]
    names = [str(value) for value in columns[settings.split_by]] if settings.split_by else wholes
    splits = [split_of(name, settings) for name in names]
    return splits, [int(digest.of_bytes(whole.encode())[:16], 16) for whole in wholes]
