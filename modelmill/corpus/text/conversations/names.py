"""Formats of conversations by name, and the standard names of their columns."""

from collections.abc import Mapping
from typing import NamedTuple


class Names(NamedTuple):
    """Standard names of a format's columns.

    Attributes:
        required: Columns that it must have.
        optional: Columns that are read where they are there.
    """

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()


# Column with the name of where a row is from, by which evaluation slices.
SOURCE = "source"
# Columns that may hold lists or objects, by standard name.
_NESTED = frozenset(("messages", "conversations", "tools", "history", "prompt", "chosen", "rejected", "completion"))
FORMATS: dict[str, Names] = {
    "messages": Names(("messages",), ("tools", SOURCE)),
    "sharegpt": Names(("conversations",), ("system", "tools", SOURCE)),
    "alpaca": Names(("instruction", "output"), ("input", "system", "history", SOURCE)),
    "preferences": Names(("chosen", "rejected"), ("prompt", "tools", SOURCE)),
    "labelled": Names(("prompt", "completion", "label"), ("tools", SOURCE)),
}


def columns(format: str, chosen: Mapping[str, str]) -> dict[str, str]:
    """Return the names of a format's columns in the data by their standard names, of optional ones as well.

    Args:
        format: One of FORMATS.
        chosen: Names in the data by standard names, where they differ.
    """
    names = FORMATS[format]
    return {name: chosen.get(name, name) for name in (*names.required, *names.optional)}


def nested(format: str, chosen: Mapping[str, str]) -> list[str]:
    """Return the columns in the data that may hold lists or objects.

    Args:
        format: One of FORMATS.
        chosen: Names in the data by standard names, where they differ.
    """
    return [name for standard, name in columns(format, chosen).items() if standard in _NESTED]
