"""The format of a data set's conversations, as the names and types of its columns tell."""

from typing import TYPE_CHECKING, NamedTuple

from modelmill.corpus.text.conversations.conversation import BadConversationError
from modelmill.corpus.text.conversations.values import objects

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


def detect(piece: "pa.Table") -> Detected | None:
    """Return the format that a data set has, None where it looks like none.

    Args:
        piece: Some of its rows.
    """
    names = piece.column_names
    for format in ("preferences", "labelled"):
        if set(_TELLING[format]) <= set(names):
            return Detected(format, {})
    for name in (*(name for name in _MESSAGES if name in names), *(name for name in names if name not in _MESSAGES)):
        keys = _keys(piece.column(name))
        if {"role", "content"} <= keys:
            return Detected("messages", {} if name == "messages" else {"messages": name})
        if {"from", "value"} <= keys:
            return Detected("sharegpt", {} if name == "conversations" else {"conversations": name})
    for format in ("alpaca", "columns"):
        if set(_TELLING[format]) <= set(names):
            return Detected(format, {})
    return None


def _keys(column: "pa.ChunkedArray") -> set[str]:
    """Return the keys of the objects in a column's lists; of JSON text, those of its first value."""
    import pyarrow.types as types

    if types.is_string(column.type) or types.is_large_string(column.type):
        return _keys_in_text(next((text for text in column.to_pylist() if text), ""))
    if not (types.is_list(column.type) or types.is_large_list(column.type)):
        return set()
    item = column.type.value_type
    return {item.field(place).name for place in range(item.num_fields)} if types.is_struct(item) else set()


def _keys_in_text(text: str) -> set[str]:
    if not text.lstrip().startswith("["):
        return set()
    try:
        return set().union(*objects(text, ""))
    except BadConversationError:
        return set()
