"""The split that a record is in: the one that data names, or by a hash of its identity, so that it never moves."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from modelmill.core import digest
from modelmill.core.errors import UserError
from modelmill.recipe.sections import SPLIT_FROM, Preparation

SPLITS = ("train", "validation", "test")
# Names of splits in data, in small letters.
_NAMES = {"training": "train"} | dict.fromkeys(("val", "valid", "dev"), "validation") | {name: name for name in SPLITS}


def split_of(identity: str, settings: Preparation, named: str | None = None) -> str:
    """Return the split of a record: `train`, `validation` or `test`.

    Where the data does not name it, it depends on the record's identity and the fractions alone. Widening a fraction
    only moves records out of training. Where it does, so does a training record's if the data lacks another split.

    Args:
        identity: What the draw goes by.
        settings: The recipe's section.
        named: The split that the data names, see `named_split`; None where the recipe does not ask for it.
    """
    if named not in (None, "train"):
        return str(named)
    is_drawn = SPLITS if named is None else settings.drawn
    # The prefix keeps the draw independent of other uses of the same hash, such as spreading files over shards.
    drawn = digest.fraction("split:" + identity)
    if drawn < settings.test and "test" in is_drawn:
        return "test"
    # Validation is taken from the far end: changing one fraction leaves the other split as it is.
    return "validation" if drawn >= 1 - settings.validation and "validation" in is_drawn else "train"


def named_split(value: Any, column: str, where: str, row: int) -> str:
    """Return the split that a value names.

    Args:
        value: The value.
        column: Its column.
        where: Name of the shard in errors.
        row: Its row in the shard, from 1.

    Raises:
        UserError: It names none.
    """
    if (split := _NAMES.get(str(value).strip().lower())) is None:
        raise UserError(
            f"{SPLIT_FROM}: {where} row {row}: column {column!r} is {value!r:.60}, not train, validation (val, valid, "
            "dev) or test; correct the row, or leave split_from out"
        )
    return split


def columns_of(settings: Preparation) -> dict[str, str]:
    """Return the columns that decide splits, by the recipe's key that gives the name."""
    named = {"preprocessing.split_by": settings.split_by, SPLIT_FROM: settings.split_from}
    return {key: name for key, name in named.items() if name is not None}


def identify(
    columns: Mapping[str, Sequence[Any]],
    contents: Sequence[tuple[str, ...]],
    settings: Preparation,
    where: str,
    first: int = 1,
) -> tuple[list[str], list[int]]:
    """Return the split and the identity of each row.

    The split is the one that `split_from` names, or goes by the hash of `split_by` or of the whole row; the identity,
    64 bits, is equal for equal rows, in whatever split they are.

    Args:
        columns: Values by column.
        contents: What else a row is made of, such as the digest of its file.
        settings: The recipe's section.
        where: Name of the shard in errors.
        first: Number of the first row in the shard.

    Raises:
        UserError: A row names no split.
    """
    names = columns[settings.split_from] if settings.split_from else None
    parts = [values for name, values in columns.items() if name != settings.split_from or name == settings.split_by]
    rows = zip(*parts, strict=True) if parts else [()] * len(contents)
    wholes = [json.dumps(row + content, default=str) for row, content in zip(rows, contents, strict=True)]
    draws = [str(value) for value in columns[settings.split_by]] if settings.split_by else wholes
    if names is None:
        splits = [split_of(draw, settings) for draw in draws]
    else:
        column = str(settings.split_from)
        known = [named_split(name, column, where, row) for row, name in enumerate(names, first)]
        splits = [split_of(draw, settings, name) for draw, name in zip(draws, known, strict=True)]
    return splits, [int(digest.of_bytes(whole.encode())[:16], 16) for whole in wholes]


def key_of(split: str, settings: Preparation) -> str:
    """Return the recipe's key that decides how large a split is, for messages.

    Args:
        split: Name of the split.
        settings: The recipe's section.
    """
    if settings.split_from is not None:
        return SPLIT_FROM
    return "preprocessing.validation or .test" if split == "train" else f"preprocessing.{split}"
