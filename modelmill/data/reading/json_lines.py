"""JSON Lines as tables: columns are the union of the keys, a missing key is null."""

import json
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa

from modelmill.core.errors import UserError
from modelmill.data.columns import DECIMAL, LARGEST_EXACT
from modelmill.data.reading.blocks import TextBlock

# Rows are Python objects for a while, which take ten times the room.
BLOCK = 8 << 20


def tables(blocks: Iterable[TextBlock], where: str) -> Iterator[pa.Table]:
    """Yield one table a block, at least one; a later table may have more columns or wider types.

    Args:
        blocks: Blocks of the file.
        where: Name of the file in errors.

    Raises:
        UserError: A line is not JSON or no object, or values of a column have conflicting types; the message names file
            and line.
    """
    kinds: dict[str, str] = {}
    united = pa.schema([])
    bare = 0  # objects without a key: rows once there is a column
    for block in blocks:
        lines = [(n, line) for n, line in enumerate(block.text.split("\n"), start=block.first) if line.strip()]
        cut_off_at = lines[-1][0] if lines and not block.text.endswith("\n") else None
        rows = [_object(line, f"{where}:{number}", number == cut_off_at) for number, line in lines]
        places = [f"{where}:{number}" for number, _ in lines]
        names = dict.fromkeys(key for row in rows for key in row)
        columns = {name: _array([row.get(name) for row in rows], places, name, kinds) for name in names}
        table = pa.table(columns)
        united = _united(united, table.schema, f"{where}:{block.first}")
        bare += 0 if columns else len(rows)
        if bare and united.names:
            yield pa.table({united.names[0]: pa.nulls(bare)})
            bare = 0
        if columns:
            yield table
    if not united.names:
        yield pa.table({})


def _united(before: pa.Schema, here: pa.Schema, where: str) -> pa.Schema:
    try:
        return pa.unify_schemas([before, here], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise UserError(f"{where}: from this line on, values have other types than before ({error})") from None


def _object(line: str, where: str, is_unfinished: bool) -> dict[str, Any]:
    try:
        value = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        what = "cut off in the middle of a line" if is_unfinished else f"not valid JSON ({error})"
        raise UserError(f"{where}: {what}; correct the file") from None
    if not isinstance(value, dict):
        raise UserError(f"{where}: a line holds one JSON object, this is {_json_type(value)}; correct the file")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _array(values: list[Any], places: list[str], name: str, kinds: dict[str, str]) -> pa.Array:
    """Return a column of Python values; `places` are the rows' for errors, `kinds` the JSON types of columns so far."""
    _refuse_other_types(values, places, name, kinds)
    try:
        if _has_large_beside_fractions(values):
            return pa.array([None if value is None else Decimal(str(value)) for value in values], DECIMAL)
        return pa.array(values)
    except (pa.ArrowException, OverflowError, UnicodeError) as error:
        raise UserError(f"{places[_first_bad(values)]}: column {name!r}: {error}; correct the value") from None


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
    first = kinds.setdefault(name, _json_type(next(v for v in values if v is not None)))
    if here == {first}:
        return
    for row, value in enumerate(values):
        if value is not None and _json_type(value) != first:
            raise UserError(
                f"{places[row]}: column {name!r} has conflicting types: {_json_type(value)} here, "
                f"{first} before; make them equal"
            )


_JSON_TYPE_OF = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}
_JSON_TYPE_OF[type(None)] = "null"


def _json_type(value: Any) -> str:
    return _JSON_TYPE_OF[type(value)]


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
