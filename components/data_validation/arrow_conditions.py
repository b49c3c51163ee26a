"""The most common conditions on Arrow columns, where they mean exactly what Great Expectations' pandas code means.

Great Expectations itself computes all others, piece by piece, as well as these for types that are not covered here.
"""

import math
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from dateutil.parser import parse  # type: ignore[import-untyped]

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
    if _is_time(column.type) and (times := _times_of(bounds, column.type)) is not None:
        column = _as_times(column)
        if column.type.unit == "ns" and not all(map(_fits_nanoseconds, times)):
            column = column.cast(pa.timestamp("us", column.type.tz), safe=False)  # such bounds are centuries away
        scalars = [pa.scalar(time, column.type) for time in times]
        low, high = (None if bound is None else scalars.pop(0) for bound in (low, high))
        return _within(column, low, high, arguments.get("strict_min"), arguments.get("strict_max"))
    is_number = _is_plain_number(column.type) and all(_is_number(b) for b in bounds)
    is_text = _is_text(column.type) and all(isinstance(b, str) for b in bounds)
    # Without bounds, or with bounds that cross, Great Expectations raises.
    if not (is_number or is_text) or not bounds or bounds[0] > bounds[-1]:
        return None
    return _within(column, low, high, arguments.get("strict_min"), arguments.get("strict_max"))


def _within(column: Any, low: Any, high: Any, strict_low: Any, strict_high: Any) -> Any:
    tests = []
    if low is not None:
        tests.append(_compared(pc.greater if strict_low else pc.greater_equal, column, low, math.floor))
    if high is not None:
        tests.append(_compared(pc.less if strict_high else pc.less_equal, column, high, math.ceil))
    return tests[0] if len(tests) == 1 else pc.and_(*tests)


def _compared(compare: Callable[..., Any], column: Any, bound: Any, outward: Callable[[float], int]) -> Any:
    """Compare a column with a bound; integers exactly, also those that floating point would round.

    Args:
        compare: Arrow's comparison.
        column: The column.
        bound: The bound.
        outward: Rounds a bound to the nearest integer that is still outside.
    """
    if not pa.types.is_integer(column.type) or not isinstance(bound, int | float):
        return compare(column, bound if isinstance(bound, pa.Scalar) else _scalar(bound))
    if math.isnan(bound):
        return pc.if_else(pc.is_valid(column), False, _NULL)
    if not -(2**63) <= bound < 2**63:
        holds = bool(compare(pa.scalar(0), pa.scalar(1 if bound > 0 else -1)).as_py())
        return pc.if_else(pc.is_valid(column), holds, _NULL)
    if bound != math.trunc(bound):  # no integer equals it
        compare = pc.greater if outward is math.floor else pc.less
        bound = outward(bound)
    return compare(column.cast(pa.int64()), pa.scalar(int(bound), pa.int64()))


def _as_times(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return dates or times in a unit as fine as that of the bounds, or finer."""
    if pa.types.is_date(column.type):
        return column.cast(pa.timestamp("us"))
    return column if column.type.unit == "ns" else column.cast(pa.timestamp("us", column.type.tz))


def _times_of(bounds: list[Any], type_: pa.DataType) -> list[datetime] | None:
    """Return bounds on dates or times as times, None where Great Expectations would not compare them."""
    has_zone = pa.types.is_timestamp(type_) and type_.tz is not None
    try:
        found = [parse(bound) if isinstance(bound, str) else _time_of(bound) for bound in bounds]
    except (ValueError, OverflowError):
        return None
    times = [time for time in found if time is not None and (time.tzinfo is not None) == has_zone]
    return times if times and len(times) == len(bounds) and times[0] <= times[-1] else None


def _fits_nanoseconds(time: datetime) -> bool:
    """Tell whether 64 bits of nanoseconds reach a time: from 1677 to 2262."""
    return 1678 <= time.year <= 2261


def _time_of(value: Any) -> datetime | None:
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day)
    return value if isinstance(value, datetime) else None


def _in_set(piece: pa.Table, columns: list[str], arguments: dict[str, Any]) -> Any:
    column, wanted = piece[columns[0]], arguments.get("value_set")
    if not isinstance(wanted, list):
        return None
    values = [v for v in wanted if v is not None]
    if _is_text(column.type) and all(isinstance(v, str) for v in values):
        value_set = pa.array(values, column.type)
    elif pa.types.is_signed_integer(column.type) and all(_is_integer(v) for v in values):
        value_set, column = pa.array(values, pa.int64()), column.cast(pa.int64())
    elif pa.types.is_timestamp(column.type) and values and (times := _times_in(values, column.type)) is not None:
        column = _as_times(column)
        if column.type.unit == "ns":
            times = list(filter(_fits_nanoseconds, times))
        value_set = pa.array(times, column.type)
    elif column.type == pa.float64() and all(_is_number(v) for v in values):
        value_set = pa.array([float(v) for v in values], pa.float64())
    else:
        return None
    is_member = pc.is_in(column, value_set=value_set)
    return pc.if_else(pc.is_valid(column), is_member, _NULL)


def _times_in(values: list[Any], type_: pa.DataType) -> list[datetime] | None:
    """Return the texts of a set as times, None if one of them is no time of the type."""
    times = [_times_of([value], type_) for value in values if isinstance(value, str)]
    return [one[0] for one in times if one] if len(times) == len(values) and all(times) else None


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


def _is_time(type_: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(type_) or pa.types.is_date(type_))


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_))


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def _is_number(value: Any) -> bool:
    return _is_integer(value) or isinstance(value, float)


def _scalar(value: Any) -> pa.Scalar:
    return pa.scalar(value, pa.int64() if _is_integer(value) else pa.float64() if isinstance(value, float) else None)
