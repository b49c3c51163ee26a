"""The format of a data set's conversations, as its columns' names and types tell."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa

# Usual names of a column of messages, and formats by the columns that tell them, the most telling first.
_MESSAGES = ("messages", "conversations", "conversation", "dialogue", "dialog", "chat")
_TELLING = {
    "preferences": ("chosen", "rejected"),
    "labelled": ("prompt", "completion", "label"),
    "alpaca": ("instruction", "output"),
    "columns": ("prompt", "response"),
}


class Detected(NamedTuple):
    """What the columns of a data set look like.

    Attributes:
        format: Value for `preprocessing.pairs.from`.
        columns: Value for `preprocessing.pairs.columns`: names in the data by standard names, where they differ.
    """

    format: str
    columns: dict[str, str]


def detect(schema: "pa.Schema") -> Detected | None:
    """Return the format that a data set's columns have, None where they look like none.

    Args:
        schema: The columns with their types.
    """
    names = schema.names
    for format in ("preferences", "labelled"):
        if set(_TELLING[format]) <= set(names):
            return Detected(format, {})
    for name in (*(name for name in _MESSAGES if name in names), *(name for name in names if name not in _MESSAGES)):
        keys = _keys(schema.field(name).type)
        if {"role", "content"} <= keys:
            return Detected("messages", {} if name == "messages" else {"messages": name})
        if {"from", "value"} <= keys:
            return Detected("sharegpt", {} if name == "conversations" else {"conversations": name})
    for format in ("alpaca", "columns"):
        if set(_TELLING[format]) <= set(names):
            return Detected(format, {})
    return None


def _keys(type_: "pa.DataType") -> set[str]:
    """Return the keys of the objects that a list's type is of."""
    import pyarrow.types as types

    if not (types.is_list(type_) or types.is_large_list(type_)) or not types.is_struct(type_.value_type):
        return set()
    return {type_.value_type.field(place).name for place in range(type_.value_type.num_fields)}
