"""Nested values of a table as JSON text."""

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


def of(column: "pa.ChunkedArray") -> "pa.ChunkedArray":
    """Return lists and objects as JSON text, without the keys that are null: Arrow gives every object all keys.

    Raises:
        pyarrow.ArrowInvalid: A value is none that JSON has, such as a time.
    """
    import pyarrow as pa

    values = (None if value is None else without_nulls(value) for value in column.to_pylist())
    try:
        texts = [None if value is None else json.dumps(value, ensure_ascii=False, allow_nan=False) for value in values]
    except (TypeError, ValueError) as error:
        raise pa.ArrowInvalid(str(error)) from None
    return pa.chunked_array([texts], pa.string())


def without_nulls(value: Any) -> Any:
    """Return a nested value without the keys that are null.

    Parquet and Arrow give every object of a column the keys of all others, null where a row has none.
    """
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [without_nulls(inner) for inner in value]
    return value
