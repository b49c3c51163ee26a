"""The most common conditions on Arrow columns, where they mean exactly what Great Expectations' pandas code means.

Great Expectations itself computes all others, piece by piece, as well as these for types that are not covered here.
"""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from modelmill.components.data_validation.plan import Need

_NULL = pa.scalar(None, pa.bool_())


def rejected(need: Need, piece: pa.Table) -> pa.ChunkedArray | None:
    """Return which rows of a piece a column condition rejects, or None where this module does not cover the condition.

    Returns:
        Booleans, null where the value is null.
    """
    if need.metric not in _ACCEPTED or "row_condition" in need.domain:
        return None
    accepted = _ACCEPTED[need.metric](piece, need.columns, need.arguments)
    return None if accepted is None else pc.invert(accepted)


def _not_null(piece: pa.Table, columns: list[str], arguments: dict[str, Any]) -> Any:
    return pc.is_valid(piece[columns[0]])


def _null(piece: pa.Table, columns: list[str], arguments: dict[str, Any]) -> Any:
    return pc.is_null(piece[columns[0]])


def _between(piece: pa.Table, columns: list[str], arguments: dict[str, Any]) -> Any:
    column, low, high = piece[columns[0]], arguments.get("min_value"), arguments.get("max_value")
    bounds = [b for b in (low, high) if b is not None]
    is_number = _is_plain_number(column.type) and all(_is_number(b) for b in bounds)
    is_text = _is_text(column.type) and all(isinstance(b, str) for b in bounds)
    # Without bounds, or with bounds that cross, Great Expectations raises.
    if not (is_number or is_text) or not bounds or bounds[0] > bounds[-1]:
        return None
    return _within(column, low, high, arguments.get("strict_min"), arguments.get("strict_max"))


def _within(column: Any, low: Any, high: Any, strict_low: Any, strict_high: Any) -> Any:
    tests = []
    if low is not None:
        tests.append((pc.greater if strict_low else pc.greater_equal)(column, _scalar(low)))
    if high is not None:
        tests.append((pc.less if strict_high else pc.less_equal)(column, _scalar(high)))
    return tests[0] if len(tests) == 1 else pc.and_(*tests)


def _in_set(piece: pa.Table, columns: list[str], arguments: dict[str, Any]) -> Any:
    column, wanted = piece[columns[0]], arguments.get("value_set")
    if not isinstance(wanted, list):
        return None
    values = [v for v in wanted if v is not None]
    if _is_text(column.type) and all(isinstance(v, str) for v in values):
        value_set = pa.array(values, column.type)
    elif pa.types.is_signed_integer(column.type) and all(_is_integer(v) for v in values):
        value_set, column = pa.array(values, pa.int64()), column.cast(pa.int64())
    elif column.type == pa.float64() and all(_is_number(v) for v in values):
        value_set = pa.array([float(v) for v in values], pa.float64())
    else:
        return None
    is_member = pc.is_in(column, value_set=value_set)
    return pc.if_else(pc.is_valid(column), is_member, _NULL)


def _not_in_set(piece: pa.Table, columns: list[str], arguments: dict[str, Any]) -> Any:
    is_member = _in_set(piece, columns, arguments)
    return None if is_member is None else pc.invert(is_member)


def _length_between(piece: pa.Table, columns: list[str], arguments: dict[str, Any]) -> Any:
    column, low, high = piece[columns[0]], arguments.get("min_value"), arguments.get("max_value")
    if not _is_text(column.type) or (low is None and high is None):
        return None
    return _within(pc.utf8_length(column), low, high, arguments.get("strict_min"), arguments.get("strict_max"))


def _length_equals(piece: pa.Table, columns: list[str], arguments: dict[str, Any]) -> Any:
    column = piece[columns[0]]
    return pc.equal(pc.utf8_length(column), _scalar(arguments["value"])) if _is_text(column.type) else None


def _match_regex(piece: pa.Table, columns: list[str], arguments: dict[str, Any]) -> Any:
    """Match as pandas does: with Arrow's regular expressions, or with Python's where Arrow's lack something."""
    column = piece[columns[0]]
    if not _is_text(column.type) or not isinstance(arguments.get("regex"), str):
        return None
    is_match = column.to_pandas().str.contains(arguments["regex"])
    return pc.if_else(pc.is_valid(column), pa.chunked_array([pa.array(is_match.to_numpy(bool))]), _NULL)


def _not_match_regex(piece: pa.Table, columns: list[str], arguments: dict[str, Any]) -> Any:
    is_match = _match_regex(piece, columns, arguments)
    return None if is_match is None else pc.invert(is_match)


def _a_greater_than_b(piece: pa.Table, columns: list[str], arguments: dict[str, Any]) -> Any:
    return _compare(pc.greater_equal if arguments.get("or_equal") else pc.greater, piece, columns)


def _pair_equal(piece: pa.Table, columns: list[str], arguments: dict[str, Any]) -> Any:
    return _compare(pc.equal, piece, columns)


def _compare(compare: Callable[..., Any], piece: pa.Table, columns: list[str]) -> Any:
    """Compare columns of one type without nulls.

    What a null means depends on what is ignored and on pandas' types.
    """
    a, b = (piece[name] for name in columns)
    if a.type != b.type or not (_is_plain_number(a.type) or _is_text(a.type)) or a.null_count or b.null_count:
        return None
    return compare(a, b)


_ACCEPTED: dict[str, Callable[[pa.Table, list[str], dict[str, Any]], Any]] = {
    "column_values.nonnull": _not_null,
    "column_values.null": _null,
    "column_values.between": _between,
    "column_values.in_set": _in_set,
    "column_values.not_in_set": _not_in_set,
    "column_values.match_regex": _match_regex,
    "column_values.not_match_regex": _not_match_regex,
    "column_values.value_length.between": _length_between,
    "column_values.value_length.equals": _length_equals,
    "column_pair_values.a_greater_than_b": _a_greater_than_b,
    "column_pair_values.equal": _pair_equal,
}


def _is_plain_number(type_: pa.DataType) -> bool:
    """Tell whether Arrow and pandas compare the type with a number alike; they differ on single precision."""
    return bool(pa.types.is_signed_integer(type_) or type_ == pa.float64())


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_))


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def _is_number(value: Any) -> bool:
    return _is_integer(value) or isinstance(value, float)


def _scalar(value: Any) -> pa.Scalar:
    return pa.scalar(value, pa.int64() if _is_integer(value) else pa.float64() if isinstance(value, float) else None)
