"""The type of a CSV column: a number where every value stays what it is as one, else text."""

from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from modelmill.data.columns import CSV, DECIMAL, LARGEST_EXACT, MISSING, NUMBER, NUMERIC, WORDS

# Words for a missing value, which count as such among numbers alone: elsewhere NA is Namibia.
NULL_WORDS = pa.array(
    [
        *("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
        *("N/A", "NA", "NULL", "NaN", "n/a", "nan", "null"),
    ]
)
# 007, +7 and -0 are no integers: as such they would be 7 and 0.
_INTEGER = r"^(0|-?[1-9][0-9]*)$"
# 1e5 and 12e3 are names of things more often than numbers; a number has a point or a signed exponent.
_NUMBER = (
    r"^-?(inf|(0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+|((0|[1-9][0-9]*)\.[0-9]*|\.[0-9]+)[eE][+-]?[0-9]{1,3}"
    r"|[0-9][eE][+-][0-9]{1,3})$"
)
_NUMERIC = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_DIGITS_OF_INT64 = 19
# Rows that are looked at first: most columns of text show there that they are.
_FIRST = 256


class Kind(NamedTuple):
    """What the values of a column are, as far as they were seen.

    Attributes:
        values: `none`, `integer`, `number`, `numeric` (a text of numbers that would not stay what they are) or `words`.
        has_large: Whether an integer is among them that floating point would round.
        has_missing: Whether there are words for a missing value.
    """

    values: str = "none"
    has_large: bool = False
    has_missing: bool = False

    def __or__(self, other: "Kind") -> "Kind":
        """Return the kind of both columns' values together."""
        order = ("none", "integer", "number", "numeric", "words")
        values = max(self.values, other.values, key=order.index)
        return Kind(values, self.has_large or other.has_large, self.has_missing or other.has_missing)

    def field(self, name: str) -> pa.Field:
        """Return the field of a column of this kind: of the type that keeps every value, null without any."""
        if self.values in ("numeric", "words"):
            return pa.field(name, pa.string(), metadata={CSV: NUMERIC if self.values == "numeric" else WORDS})
        if self.values == "none":
            return (
                pa.field(name, pa.string(), metadata={CSV: MISSING}) if self.has_missing else pa.field(name, pa.null())
            )
        fraction = DECIMAL if self.has_large else pa.float64()
        return pa.field(name, pa.int64() if self.values == "integer" else fraction, metadata={CSV: NUMBER})


def kind_of(column: pa.ChunkedArray) -> Kind:
    """Return the kind of a column of strings, in which an empty one is no value."""
    kind = _kind(_values(column.slice(0, _FIRST)))
    return kind if kind.values == "words" or len(column) <= _FIRST else _kind(_values(column))


def as_type(column: pa.ChunkedArray, type_: pa.DataType) -> pa.ChunkedArray:
    """Return a column of strings as values of a type; an empty one, and among numbers a word for it, is null.

    Raises:
        pyarrow.ArrowInvalid: A value is none of that type.
    """
    column = pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
    if pa.types.is_string(type_):
        return column
    if pa.types.is_null(type_):
        return pa.chunked_array([pa.nulls(len(column))])
    column = pc.utf8_trim_whitespace(column)
    missing = pc.is_in(column, value_set=NULL_WORDS)
    if pc.any(missing).as_py():
        column = pc.if_else(missing, pa.scalar(None, pa.string()), column)
    values = column.cast(type_)
    if pa.types.is_decimal(type_):
        # Arrow wraps what is too large, and cuts what is too fine.
        fits = pc.equal(values.cast(pa.float64()), column.cast(pa.float64()))
        if not _all(fits):
            raise pa.ArrowInvalid(f"{column.filter(pc.invert(fits))[0]} does not fit into {type_}")
    return values


def _values(column: pa.ChunkedArray) -> pa.ChunkedArray:
    column = column.filter(pc.not_equal(column, ""))
    return pc.utf8_trim_whitespace(column)


def _kind(values: pa.ChunkedArray) -> Kind:
    is_word = pc.is_in(values, value_set=NULL_WORDS)
    has_words = bool(pc.any(is_word).as_py())
    numbers = values.filter(pc.invert(is_word)) if has_words else values
    if not len(numbers):
        return Kind("none", has_missing=has_words)
    is_integer = pc.match_substring_regex(numbers, _INTEGER)
    if not _all(is_integer) and not _all(pc.match_substring_regex(numbers, _NUMBER)):
        return Kind("numeric" if _all(pc.match_substring_regex(numbers, _NUMERIC)) else "words")
    large = _has_large(numbers.filter(is_integer))
    if large is None:
        return Kind("numeric")
    return Kind("integer" if _all(is_integer) else "number", large, has_words)


def _has_large(integers: pa.ChunkedArray) -> bool | None:
    """Return whether floating point would round one of them; None if one is too large for 64 bits."""
    if (pc.max(pc.utf8_length(integers)).as_py() or 0) < _DIGITS_OF_INT64 - 3:
        return False
    try:
        extremes = pc.min_max(integers.cast(pa.int64())).as_py()
    except pa.ArrowInvalid:
        return None
    return extremes["min"] < -LARGEST_EXACT or extremes["max"] > LARGEST_EXACT


def _all(found: pa.ChunkedArray) -> bool:
    return bool(pc.all(found).as_py())
