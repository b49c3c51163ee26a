"""The distributions of a dataset's columns, as a small state that merges exactly over shards."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modelmill.components.data_validation.sketch import Histogram, Values

TOKEN_BUCKETS = 256
# Documents whose tokens are counted together.
_DOCUMENTS = 1024
_BYTES = 1 << 20


@dataclass
class Column:
    """The distribution of a column.

    Attributes:
        kind: `number`, `time` (seconds since 1970 or midnight), `text`, `category` (booleans) or `other`; None without
            values.
        valid: How many values are not null.
        low: The least value, or the length of the shortest text, as JSON; None for an infinity.
        high: The greatest value, or the length of the longest text, as JSON; None for an infinity.
        numbers: Histogram of numbers and times.
        lengths: Histogram of texts' lengths in characters.
        values: Counts of the values, where these are few.
        bytes: Counts of the bytes of texts in UTF-8, int64, (256,).
        tokens: Counts of the words of texts, split at white space, by CRC-32 in buckets, int64, (256,).
    """

    kind: str | None = None
    valid: int = 0
    low: Any = None
    high: Any = None
    numbers: Histogram = field(default_factory=Histogram)
    lengths: Histogram = field(default_factory=Histogram)
    values: Values = field(default_factory=Values)
    bytes: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    tokens: np.ndarray = field(default_factory=lambda: np.zeros(TOKEN_BUCKETS, np.int64))

    def add(self, column: pa.Array) -> None:
        """Count the values of an array without nulls."""
        if not len(column):
            return
        self.kind = kind_of(column.type)
        if self.kind in ("number", "time"):
            numbers = _numbers(column)
            self.numbers.add(numbers)
            # Arrow has no order of durations.
            self._bound(pa.array(numbers) if pa.types.is_duration(column.type) else column)
        elif self.kind == "category":
            self.values.add(_counts(column.cast(pa.string())))
        elif self.kind == "text":
            self._add_texts(column)
        self.valid += len(column)

    def merge(self, other: "Column") -> None:
        """Add the values that another object has counted."""
        if not other.valid:
            return
        self._widen(other.low, other.high)
        self.kind = self.kind or other.kind
        self.valid += other.valid
        self.numbers.merge(other.numbers)
        self.lengths.merge(other.lengths)
        self.values.merge(other.values)
        self.bytes += other.bytes
        self.tokens += other.tokens

    def _bound(self, column: pa.Array) -> None:
        extremes = pc.min_max(column)
        self._widen(*(_plain(extremes[name].as_py()) for name in ("min", "max")))

    def _widen(self, low: Any, high: Any) -> None:
        """Take in the extremes of more values; where one side has an infinity, so has the whole."""
        if self.valid:
            low = None if low is None or self.low is None else min(low, self.low)
            high = None if high is None or self.high is None else max(high, self.high)
        self.low, self.high = low, high

    def _add_texts(self, column: pa.Array) -> None:
        lengths = pc.utf8_length(column)
        self._bound(lengths)
        self.lengths.add(lengths.to_numpy())
        if self.values.counts is not None:
            self.values.add(_counts(column))
        for start in range(0, len(column), _DOCUMENTS):
            part = column.slice(start, _DOCUMENTS)
            for data in _utf8(part):
                self.bytes += np.bincount(data, minlength=256)
            counted = pc.value_counts(pc.list_flatten(pc.utf8_split_whitespace(part)))
            words, counts = counted.field("values").to_pylist(), counted.field("counts").to_numpy()
            buckets = [zlib.crc32(word.encode()) % TOKEN_BUCKETS if word else -1 for word in words]
            is_word = np.array(buckets, np.int64) >= 0
            np.add.at(self.tokens, np.array(buckets, np.int64)[is_word], counts[is_word])

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON."""
        state = {"kind": self.kind, "valid": self.valid, "low": self.low, "high": self.high}
        if self.kind in ("number", "time"):
            return state | {"numbers": self.numbers.to_json()}
        if self.kind == "category":
            return state | {"values": self.values.to_json()}
        if self.kind != "text":
            return state
        counts = {"bytes": self.bytes.tolist(), "tokens": self.tokens.tolist()}
        return state | {"lengths": self.lengths.to_json(), "values": self.values.to_json(), **counts}

    @classmethod
    def parse(cls, state: dict[str, Any]) -> "Column":
        """Return the object whose state this is."""
        column = cls(*(state[name] for name in ("kind", "valid", "low", "high")))
        for name in {"numbers", "lengths"} & set(state):
            setattr(column, name, Histogram.parse(state[name]))
        for name in {"bytes", "tokens"} & set(state):
            setattr(column, name, np.array(state[name], np.int64))
        column.values = Values.parse(state.get("values", {}))
        return column


@dataclass
class Profile:
    """The distributions of all columns; a column that a shard lacks is null there.

    Attributes:
        rows: Number of rows.
        columns: Distributions by column.
    """

    rows: int = 0
    columns: dict[str, Column] = field(default_factory=dict)

    def add(self, table: pa.Table) -> None:
        """Count the rows of a table in which NaN is null."""
        self.rows += table.num_rows
        for name in table.column_names:
            column = self.columns.setdefault(name, Column())
            for chunk in table[name].drop_null().chunks:
                column.add(chunk)

    def merge(self, other: "Profile") -> None:
        """Add the rows that another profile has counted."""
        self.rows += other.rows
        for name, column in other.columns.items():
            self.columns.setdefault(name, Column()).merge(column)

    def nulls(self, name: str) -> int:
        """Return the number of nulls in a column."""
        return self.rows - self.columns[name].valid

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON."""
        return {"rows": self.rows, "columns": {name: column.to_json() for name, column in self.columns.items()}}

    @classmethod
    def parse(cls, state: dict[str, Any]) -> "Profile":
        """Return the profile whose state this is."""
        return cls(state["rows"], {name: Column.parse(column) for name, column in state["columns"].items()})


def merged(states: list[dict[str, Any]]) -> Profile:
    """Return the profile of all shards, from the state of each."""
    whole = Profile()
    for state in states:
        whole.merge(Profile.parse(state))
    return whole


def kind_of(type_: pa.DataType) -> str:
    """Return the kind of distribution for a column of an Arrow type; see `Column`."""
    if pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return "number"
    if pa.types.is_temporal(type_) and not pa.types.is_interval(type_):
        return "time"
    if pa.types.is_string(type_) or pa.types.is_large_string(type_):
        return "text"
    return "category" if pa.types.is_boolean(type_) else "other"


def _numbers(column: pa.Array) -> np.ndarray:
    if kind_of(column.type) == "number":
        return np.asarray(column.cast(pa.float64(), safe=False))
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("s"))
    per_second = {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}[column.type.unit]
    integers = column.cast(pa.int32()) if pa.types.is_time32(column.type) else column
    return integers.cast(pa.int64()).to_numpy() / per_second


def _plain(value: Any) -> Any:
    """Return a bound as JSON: numbers stay, times become text in ISO 8601, which keeps their order."""
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, int | float | None):
        return value if value is None or np.isfinite(value) else None
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _counts(column: pa.Array) -> dict[str, int]:
    counted = pc.value_counts(column)
    return dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))


def _utf8(column: pa.Array) -> Iterator[np.ndarray]:
    """Yield the bytes of texts in pieces, uint8."""
    column = column.cast(pa.large_string())
    offsets = np.frombuffer(column.buffers()[1], np.int64)[column.offset : column.offset + len(column) + 1]
    data = column.buffers()[2]
    whole = np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]] if data is not None else np.empty(0, np.uint8)
    for start in range(0, len(whole), _BYTES):
        yield whole[start : start + _BYTES]
