"""Rows of a shard that conditions reject: how many, and the first of them."""

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from great_expectations.validator.metric_configuration import MetricConfiguration

from modelmill.components.data_validation import arrow_conditions, engine
from modelmill.components.data_validation.engine import MetricLookup
from modelmill.components.data_validation.packing import pack
from modelmill.components.data_validation.plan import SAMPLES, Need

# Most characters of a text in a sample.
SAMPLE_TEXT = 10_000


class Piece:
    """Some rows of a shard, with what several needs have in common computed once.

    Attributes:
        table: The rows.
        start: Number of the first row in the shard, from 0.
        known: Looks up metrics whose values are known already.
    """

    def __init__(self, table: pa.Table, start: int, known: MetricLookup) -> None:
        """Hold the rows of `table`."""
        self.table, self.start, self.known = table, start, known
        self._engines: dict[tuple[str, ...], Any] = {}

    def engine(self, need: Need) -> Any:
        """Return an engine on a frame of the columns that the need looks at; a row condition may look at any."""
        names = need.columns
        if "row_condition" in need.domain:
            names = [*self.table.column_names, *(n for n in names if n not in self.table.column_names)]
        key = tuple(names)
        if key not in self._engines:
            table = pa.table({name: self.column(name) for name in names})
            self._engines[key] = engine.engine_on(engine.frame_of(table))
        return self._engines[key]

    def column(self, name: str) -> pa.ChunkedArray:
        """Return a column, all nulls where the piece lacks it."""
        if name in self.table.column_names:
            return self.table[name]
        return pa.chunked_array([pa.nulls(self.table.num_rows)])

    def domain(self, need: Need) -> pa.Array | None:
        """Return the positions of the rows that meet the row condition, or None where there is no condition."""
        condition = {k: v for k, v in need.domain.items() if k in ("row_condition", "condition_parser")}
        return pa.array(engine.domain_rows(self.engine(need), condition)) if "row_condition" in condition else None

    def counted(self, need: Need) -> tuple[list[pa.ChunkedArray], np.ndarray]:
        """Return the need's columns at the rows that count, and these rows' positions.

        Rows in the domain count; of a single column, those without null.
        """
        if "column" not in need.domain:
            rows = engine.domain_rows(self.engine(need), need.domain)
        else:
            is_value = pc.is_valid(self.column(need.columns[0])).combine_chunks()
            rows = pc.indices_nonzero(is_value).to_numpy().astype(np.int64)
            if (inside := self.domain(need)) is not None:
                rows = np.intersect1d(rows, inside.to_numpy())
        columns = [self.column(name) for name in need.columns]
        if len(rows) < self.table.num_rows:
            columns = [column.take(pa.array(rows)) for column in columns]
        return columns, rows

    def values(self, need: Need) -> list[pa.ChunkedArray]:
        """Return the need's columns at the rows that count."""
        return self.counted(need)[0]

    def matching(self, need: Need, wanted: pa.Table) -> np.ndarray:
        """Return the positions of the rows that count and hold one of the wanted values or combinations."""
        columns, rows = self.counted(need)
        keys = {tuple(row.values()) for row in wanted.to_pylist()}
        held = zip(*(column.to_pylist() for column in columns), strict=True)
        return rows[[i for i, values in enumerate(held) if values in keys]]


class Rejections:
    """How many rows of a shard a condition rejects, and the first of them.

    Attributes:
        need: The condition.
    """

    def __init__(self, need: Need) -> None:
        """Start without rows."""
        self.need = need
        self._rejected = self._filtered = 0
        self._samples: list[pa.Table] = []
        self._taken = 0
        self._error: str | None = None

    def add(self, piece: Piece) -> None:
        """Count the rows of a piece that the condition rejects."""
        with self._failing():
            self._filtered += self._in_domain(piece)
            if self._is_settled_by_type(piece):
                return
            rejected = arrow_conditions.rejected(self.need, piece.table) if self._has_columns(piece) else None
            if rejected is not None:
                self._rejected += pc.sum(rejected).as_py() or 0
                if self._taken < SAMPLES and self._rejected > self._taken:
                    mask = pc.fill_null(rejected, False).combine_chunks()
                    self._take(piece, pc.indices_nonzero(mask).to_numpy()[: SAMPLES - self._taken])
            else:
                rows = engine.unexpected_rows(piece.engine(self.need), self.need.configuration(), piece.known)
                self.add_rows(piece, rows)

    def add_rows(self, piece: Piece, rows: np.ndarray) -> None:
        """Count rejected rows of a piece, given by their positions."""
        self._rejected += len(rows)
        self._take(piece, rows[: SAMPLES - self._taken])

    def fail(self, error: Exception) -> None:
        """Record that the condition cannot be computed; the first error counts."""
        self._error = self._error or str(error)

    def state(self) -> dict[str, Any]:
        """Return the counts with samples, or the error, as JSON."""
        if self._error is not None:
            return {"error": self._error}
        table = pa.concat_tables(self._samples, promote_options="permissive") if self._samples else None
        return {"rejected": self._rejected, "filtered": self._filtered, "samples": pack(table) if table else None}

    def _failing(self) -> Any:
        return _failing(self.fail)

    def _has_columns(self, piece: Piece) -> bool:
        return all(name in piece.table.column_names for name in self.need.columns)

    def _in_domain(self, piece: Piece) -> int:
        """Return how many rows a condition on several columns looks at; for one column, `counts` knows."""
        if "column" in self.need.domain:
            return 0
        is_whole = "row_condition" not in self.need.domain and self._has_columns(piece)
        if is_whole and not any(piece.table[name].null_count for name in self.need.columns):
            return int(piece.table.num_rows)
        return len(engine.domain_rows(piece.engine(self.need), self.need.domain))

    def _is_settled_by_type(self, piece: Piece) -> bool:
        """Tell whether the column's type alone answers; values are asked only where pandas keeps Python objects."""
        if self.need.metric not in ("column_values.of_type", "column_values.in_type_list"):
            return False
        type_ = piece.column(self.need.columns[0]).type
        is_object = pa.types.is_boolean(type_) or pa.types.is_nested(type_) or pa.types.is_date(type_)
        return not (is_object or pa.types.is_decimal(type_) or pa.types.is_time(type_) or pa.types.is_binary(type_))

    def _take(self, piece: Piece, positions: np.ndarray) -> None:
        if not len(positions):
            return
        columns = {name: _shortened(piece.column(name).take(pa.array(positions))) for name in self.need.columns}
        self._samples.append(pa.table(columns | {"__row": positions.astype(np.int64) + piece.start}))
        self._taken += len(positions)


class Order:
    """Rows out of order, each compared with the value before it; the first and last value serve the shards around."""

    def __init__(self, need: Need) -> None:
        """Start without rows."""
        self._rejections = Rejections(need)
        self._need = need
        self._first: pa.Table | None = None
        self._last: pa.Table | None = None

    def add(self, piece: Piece) -> None:
        """Count the rows of a piece that do not follow the one before."""
        (column,), rows = piece.counted(self._need)
        if not len(rows):
            return
        name = self._need.columns[0]
        here = pa.table({name: column})
        with _failing(self._rejections.fail):
            if pa.types.is_boolean(column.type):
                raise TypeError("booleans have no order")  # pandas' differences of them depend on nulls elsewhere
            positions = out_of_order(self._need, self._last, here)
            self._rejections.add_rows(piece, rows[positions])
        if self._first is None:
            self._first = here.slice(0, 1).append_column("__row", pa.array(rows[:1] + piece.start))
        self._last = here.slice(len(rows) - 1)

    def state(self) -> dict[str, Any]:
        """Return the counts with samples, the first and the last value, as JSON."""
        state = self._rejections.state()
        edges = {"first": self._first, "last": self._last}
        return state | {edge: pack(table) if table else None for edge, table in edges.items()}


def out_of_order(need: Need, before: pa.Table | None, here: pa.Table) -> np.ndarray:
    """Return the positions of values that do not follow the one before.

    Args:
        need: The condition on the order.
        before: A table of the value before the first, if there is one.
        here: A table of the need's column alone, in which the positions are.
    """
    table = pa.concat_tables([before, here], promote_options="permissive") if before is not None else here
    bare = MetricConfiguration(need.metric, {"column": need.columns[0]}, need.arguments)
    positions = engine.unexpected_rows(engine.engine_on(engine.frame_of(table)), bare)
    return positions - (0 if before is None else 1)


def _shortened(column: pa.ChunkedArray) -> pa.ChunkedArray:
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    return pc.utf8_slice_codeunits(column, 0, SAMPLE_TEXT) if is_text else column


@contextlib.contextmanager
def _failing(fail: Callable[[Exception], None]) -> Any:
    """Turn what Great Expectations raises on the data into the expectation's result; the scan goes on."""
    try:
        yield
    except Exception as error:
        fail(error)
