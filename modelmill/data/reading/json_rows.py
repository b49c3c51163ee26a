"""Rows of JSON objects as tables: columns are the union of the keys, a missing key is null."""

import json
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

import pyarrow as pa

from modelmill.core.errors import UserError
from modelmill.data.columns import DECIMAL, LARGEST_EXACT

# Bytes of text in a block: its rows are Python objects for a while, which take ten times the room.
BLOCK = 8 << 20


class Rows(NamedTuple):
    """Some rows of a file.

    Attributes:
        objects: The rows.
        lines: The line in the file that each begins at, from 1.
    """

    objects: list[dict[str, Any]]
    lines: list[int]


def tables(batches: Iterable[Rows], where: str, chosen: Mapping[str, pa.DataType]) -> Iterator[pa.Table]:
    """Yield one table a batch of rows, at least one; a later table may have more columns or wider types.

    Args:
        batches: The file's rows.
        where: Name of the file in errors.
        chosen: Types of columns that a person has chosen. Lists and objects of a column of text are JSON text.

    Raises:
        UserError: Values of a column have conflicting types; the message names file and line.
    """
    texts = {name for name, type_ in chosen.items() if pa.types.is_string(type_)}
    kinds: dict[str, str] = {}
    united = pa.schema([])
    bare = 0  # objects without a key: rows once there is a column
    for rows, lines in batches:
        places = [f"{where}:{line}" for line in lines]
        names = dict.fromkeys(key for row in rows for key in row)
        columns = {}
        for name in names:
            values = [row.get(name) for row in rows]
            columns[name] = _array(_as_text(values) if name in texts else values, places, name, kinds)
        table = pa.table(columns)
        united = _united(united, table.schema, f"{where}:{lines[0] if lines else 1}")
        bare += 0 if columns else len(rows)
        if bare and united.names:
            yield pa.table({united.names[0]: pa.nulls(bare)})
            bare = 0
        if columns:
            yield table
    if not united.names:
        yield pa.table({})


def refuse_constant(name: str) -> None:
    """Refuse NaN and infinity, which Python's parser takes.

    Raises:
        ValueError: Always.
    """
    raise ValueError(f"{name} is not JSON")


def json_type(value: Any) -> str:
    """Return the JSON type of a value."""
    return _JSON_TYPE_OF[type(value)]


def _as_text(values: list[Any]) -> list[Any]:
    """Return values of a column of text, those that are nested as JSON."""
    return [json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value for value in values]


def _united(before: pa.Schema, here: pa.Schema, where: str) -> pa.Schema:
    try:
        return pa.unify_schemas([before, here], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise UserError(f"{where}: from this line on, values have other types than before ({error})") from None


def _array(values: list[Any], places: list[str], name: str, kinds: dict[str, str]) -> pa.Array:
    """Return a column of Python values; `places` are the rows' for errors, `kinds` the JSON types of columns so far."""
    _refuse_other_types(values, places, name, kinds)
    try:
        if _has_large_beside_fractions(values):
            return pa.array([None if value is None else Decimal(str(value)) for value in values], DECIMAL)
        return pa.array(values)
    except (pa.ArrowException, OverflowError, UnicodeError) as error:
        is_nested = kinds.get(name) in ("array", "object")
        else_ = f", or read the column as JSON text with data.columns: {{{name}: text}}" if is_nested else ""
        raise UserError(f"{places[_first_bad(values)]}: column {name!r}: {error}; correct the value{else_}") from None


def _has_large_beside_fractions(values: list[Any]) -> bool:
    """Tell whether the numbers would be floating-point ones, and an integer among them rounded."""
    if not {int, float} <= set(map(type, values)):
        return False
    largest = max(abs(value) for value in values if type(value) is int)
    return LARGEST_EXACT < largest < 2**63  # Arrow refuses a larger one


def _refuse_other_types(values: list[Any], places: list[str], name: str, kinds: dict[str, str]) -> None:
    """Refuse a column with several JSON types: Arrow would take `true` for 1.0 among numbers."""
    here = {_JSON_TYPE_OF[t] for t in set(map(type, values))} - {"null"}
    if not here:
        return
    first = kinds.setdefault(name, json_type(next(v for v in values if v is not None)))
    if here == {first}:
        return
    for row, value in enumerate(values):
        if value is not None and json_type(value) != first:
            raise UserError(
                f"{places[row]}: column {name!r} has conflicting types: {json_type(value)} here, "
                f"{first} before; make them equal"
            )


_JSON_TYPE_OF = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}
_JSON_TYPE_OF[type(None)] = "null"


def _first_bad(values: list[Any]) -> int:
    """Return the row of the first value that does not fit those before it, by bisection."""
    good, bad = 0, len(values)
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            pa.array(values[:middle])
            good = middle
        except (pa.ArrowException, OverflowError, UnicodeError):
            bad = middle
    return bad - 1
