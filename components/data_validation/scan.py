"""One pass over one shard: everything that a plan needs to know of it, as a small JSON state and tallies on disk."""

import base64
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from great_expectations.validator.metric_configuration import MetricConfiguration

from components.common import shards
from components.common.shards import Shard
from components.data_validation import engine, fast
from components.data_validation.engine import Known
from components.data_validation.plan import SAMPLES, Need, Plan
from components.data_validation.profile import Profile
from components.data_validation.tally import TallyWriter

# Also of long texts a sample is a sample.
SAMPLE_TEXT = 10_000

State = dict[str, Any]


@dataclass(frozen=True)
class Pass:
    """What to look for and what is known beforehand.

    known: values of metrics of the whole data (in a second pass). repeated: tallies by key, with those of their values
    whose rows are wanted as samples. profile: whether to look at the distributions of all columns as well.
    """

    plan: Plan
    known: Known = lambda metric: engine.MISSING
    repeated: dict[str, tuple[Need, pa.Table]] = field(default_factory=dict)
    profile: bool = False

    @property
    def name(self) -> str:
        """What states of a first pass are kept under."""
        return self.plan.digest + ("+profile" if self.profile else "")


def scan(shard: Shard, todo: Pass, folder: Path) -> State:
    """The state of a shard; its tallies are written into `folder` and named in the state.

    Raises:
        UserError: the shard cannot be read.
    """
    scanner, stream = _Scanner(todo, folder), shards.Stream(shard)
    for piece in stream:
        scanner.add(piece)
    return scanner.state() | {"sha256": stream.sha256}


class _Scanner:
    def __init__(self, todo: Pass, folder: Path) -> None:
        self._todo = todo
        self._schema = pa.schema([])
        self._rows = 0
        self._nulls: dict[str, int] = {}
        plan = todo.plan
        self._counts = {key: {"rows": 0, "nulls": 0} for key in plan.counts}
        self._conditions = {key: _Rejections(need) for key, need in plan.conditions.items()}
        self._ordered = {key: _Order(need) for key, need in plan.ordered.items()}
        self._numbers = {key: Numbers() for key in plan.numbers}
        self._tallies = {key: TallyWriter(folder, key) for key in plan.tallies}
        self._repeated = {key: _Rejections(need) for key, (need, _) in todo.repeated.items()}
        self._profile = Profile()

    def add(self, table: pa.Table) -> None:
        piece = _clean(table)
        self._schema = pa.unify_schemas([self._schema, piece.schema], promote_options="permissive")
        for name in piece.column_names:
            self._nulls[name] = self._nulls.get(name, 0) + piece[name].null_count
        looked = _Piece(piece, self._rows, self._todo.known)
        for key, need in self._todo.plan.counts.items():
            self._count(self._counts[key], need, looked)
        for rejections in self._conditions.values():
            rejections.add(looked)
        for order in self._ordered.values():
            order.add(looked)
        for key, numbers in self._numbers.items():
            numbers.add(looked.values(self._todo.plan.numbers[key])[0])
        for key, writer in self._tallies.items():
            columns, rows = looked.counted(self._todo.plan.tallies[key])
            writer.add(columns, rows + self._rows)
        for key, rejections in self._repeated.items():
            rejections.add_rows(looked, looked.matching(*self._todo.repeated[key]))
        if self._todo.profile:
            self._profile.add(piece)
        self._rows += piece.num_rows

    def state(self) -> State:
        return {
            "rows": self._rows,
            "schema": pack(self._schema.empty_table()),
            "nulls": self._nulls,
            "counts": self._counts,
            "conditions": {key: r.state() for key, r in self._conditions.items()},
            "ordered": {key: o.state() for key, o in self._ordered.items()},
            "numbers": {key: n.state() for key, n in self._numbers.items()},
            "tallies": {key: writer.close() for key, writer in self._tallies.items()},
            "repeated": {key: r.state() for key, r in self._repeated.items()},
            "profile": self._profile.to_json(),
        }

    def _count(self, count: dict[str, int], need: Need, piece: "_Piece") -> None:
        rows = piece.domain(need)
        count["rows"] += piece.table.num_rows if rows is None else len(rows)
        if "column" in need.domain:
            column = piece.column(need.domain["column"])
            count["nulls"] += column.null_count if rows is None else column.take(rows).null_count


class _Piece:
    """Some rows of a shard, with what several needs have in common computed once."""

    def __init__(self, table: pa.Table, start: int, known: Known) -> None:
        self.table, self.start, self.known = table, start, known
        self._engines: dict[tuple[str, ...], Any] = {}

    def engine(self, need: Need) -> Any:
        """An engine on a frame of the columns that the need looks at; a row condition may look at any."""
        names = need.columns
        if "row_condition" in need.domain:
            names = [*self.table.column_names, *(n for n in names if n not in self.table.column_names)]
        key = tuple(names)
        if key not in self._engines:
            table = pa.table({name: self.column(name) for name in names})
            self._engines[key] = engine.engine_on(engine.frame_of(table))
        return self._engines[key]

    def column(self, name: str) -> pa.ChunkedArray:
        if name in self.table.column_names:
            return self.table[name]
        return pa.chunked_array([pa.nulls(self.table.num_rows)])

    def domain(self, need: Need) -> pa.Array | None:
        """Positions of the rows that meet the row condition; None where there is none."""
        condition = {k: v for k, v in need.domain.items() if k in ("row_condition", "condition_parser")}
        return pa.array(engine.domain_rows(self.engine(need), condition)) if "row_condition" in condition else None

    def counted(self, need: Need) -> tuple[list[pa.ChunkedArray], np.ndarray]:
        """The need's columns at the rows that count: in the domain, and for one column not null."""
        if "column_list" in need.domain:
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
        return self.counted(need)[0]

    def matching(self, need: Need, wanted: pa.Table) -> np.ndarray:
        """Positions of the rows that count and hold one of the wanted values or combinations."""
        columns, rows = self.counted(need)
        keys = {tuple(row.values()) for row in wanted.to_pylist()}
        held = zip(*(column.to_pylist() for column in columns), strict=True)
        return rows[[i for i, values in enumerate(held) if values in keys]]


class _Rejections:
    """How many rows of a shard a condition rejects, and the first of them."""

    def __init__(self, need: Need) -> None:
        self.need = need
        self._rejected = self._filtered = 0
        self._samples: list[pa.Table] = []
        self._taken = 0
        self._error: str | None = None

    def add(self, piece: _Piece) -> None:
        with self._failing():
            self._filtered += self._in_domain(piece)
            if self._is_settled_by_type(piece):
                return
            rejected = fast.rejected(self.need, piece.table) if self._has_columns(piece) else None
            if rejected is not None:
                self._rejected += pc.sum(rejected).as_py() or 0
                if self._taken < SAMPLES and self._rejected > self._taken:
                    mask = pc.fill_null(rejected, False).combine_chunks()
                    self._take(piece, pc.indices_nonzero(mask).to_numpy()[: SAMPLES - self._taken])
            else:
                rows = engine.unexpected_rows(piece.engine(self.need), self.need.configuration(), piece.known)
                self.add_rows(piece, rows)

    def add_rows(self, piece: _Piece, rows: np.ndarray) -> None:
        self._rejected += len(rows)
        self._take(piece, rows[: SAMPLES - self._taken])

    def fail(self, error: Exception) -> None:
        self._error = self._error or str(error)

    def state(self) -> State:
        if self._error is not None:
            return {"error": self._error}
        table = pa.concat_tables(self._samples, promote_options="permissive") if self._samples else None
        return {"rejected": self._rejected, "filtered": self._filtered, "samples": pack(table) if table else None}

    def _failing(self) -> Any:
        return _failing(self.fail)

    def _has_columns(self, piece: _Piece) -> bool:
        return all(name in piece.table.column_names for name in self.need.columns)

    def _in_domain(self, piece: _Piece) -> int:
        """Rows that a condition on several columns looks at; for one column, `counts` knows."""
        if "column" in self.need.domain:
            return 0
        is_whole = "row_condition" not in self.need.domain and self._has_columns(piece)
        if is_whole and not any(piece.table[name].null_count for name in self.need.columns):
            return int(piece.table.num_rows)
        return len(engine.domain_rows(piece.engine(self.need), self.need.domain))

    def _is_settled_by_type(self, piece: _Piece) -> bool:
        """Types are asked value by value only in columns that pandas keeps as Python objects."""
        if self.need.metric not in ("column_values.of_type", "column_values.in_type_list"):
            return False
        type_ = piece.column(self.need.columns[0]).type
        is_object = pa.types.is_boolean(type_) or pa.types.is_nested(type_) or pa.types.is_date(type_)
        return not (is_object or pa.types.is_decimal(type_) or pa.types.is_time(type_) or pa.types.is_binary(type_))

    def _take(self, piece: _Piece, positions: np.ndarray) -> None:
        if not len(positions):
            return
        columns = {name: _shortened(piece.column(name).take(pa.array(positions))) for name in self.need.columns}
        self._samples.append(pa.table(columns | {"__row": positions.astype(np.int64) + piece.start}))
        self._taken += len(positions)


class _Order:
    """Rows out of order, each held against the value before it; the first and last value for the shards around."""

    def __init__(self, need: Need) -> None:
        self._rejections = _Rejections(need)
        self._need = need
        self._first: pa.Table | None = None
        self._last: pa.Table | None = None

    def add(self, piece: _Piece) -> None:
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

    def state(self) -> State:
        state = self._rejections.state()
        edges = {"first": self._first, "last": self._last}
        return state | {edge: pack(table) if table else None for edge, table in edges.items()}


def out_of_order(need: Need, before: pa.Table | None, here: pa.Table) -> np.ndarray:
    """Positions in `here`, a table of the need's column alone, of values that do not follow the one before."""
    table = pa.concat_tables([before, here], promote_options="permissive") if before is not None else here
    bare = MetricConfiguration(need.metric, {"column": need.columns[0]}, need.arguments)
    positions = engine.unexpected_rows(engine.engine_on(engine.frame_of(table)), bare)
    return positions - (0 if before is None else 1)


class Numbers:
    """Count, extremes and moments of values; moments merge as in Chan, Golub and LeVeque (1983)."""

    def __init__(self) -> None:
        self.count = 0
        self.total: float = 0
        self.mean = self.squares = 0.0
        self.low: pa.Table | None = None
        self.high: pa.Table | None = None
        self.is_number = True

    def add(self, column: pa.ChunkedArray) -> None:
        if pa.types.is_null(column.type) or not len(column):
            return
        with contextlib.suppress(pa.ArrowNotImplementedError):
            extremes = pc.min_max(column)
            self._extremes(
                pa.table({"v": pa.array([extremes["min"].as_py()], column.type)}),
                pa.table({"v": pa.array([extremes["max"].as_py()], column.type)}),
            )
        if pa.types.is_boolean(column.type):
            column = column.cast(pa.int64())
        if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
            self.is_number = False
            self.count += len(column)
            return
        values = column.to_numpy()
        total = sum_exactly(values)
        values = values.astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            mean = float(values.mean())
            self._moments(len(values), total, mean, float(((values - mean) ** 2).sum()))

    def merge(self, other: "Numbers") -> None:
        if not other.count:
            return
        if other.low is not None and other.high is not None:
            self._extremes(other.low, other.high)
        if not other.is_number:
            self.is_number = False
        self._moments(other.count, other.total, other.mean, other.squares)

    def _moments(self, count: int, total: float, mean: float, squares: float) -> None:
        both = self.count + count
        difference = mean - self.mean
        self.squares += squares + difference * difference * self.count * count / both
        self.mean += difference * count / both
        self.total += total
        self.count = both

    def _extremes(self, low: pa.Table, high: pa.Table) -> None:
        lows = [low] if self.low is None else [self.low, low]
        highs = [high] if self.high is None else [self.high, high]
        self.low = pa.concat_tables(lows, promote_options="permissive").combine_chunks()
        self.high = pa.concat_tables(highs, promote_options="permissive").combine_chunks()
        if len(lows) == 2:
            self.low = pa.table({"v": [pc.min(self.low["v"]).as_py()]}, schema=self.low.schema)
            self.high = pa.table({"v": [pc.max(self.high["v"]).as_py()]}, schema=self.high.schema)

    def state(self) -> State:
        moments = {k: repr(getattr(self, k)) for k in ("total", "mean", "squares")}
        extremes = {k: pack(v) if (v := getattr(self, k)) else None for k in ("low", "high")}
        return {"count": self.count, "is_number": self.is_number, **moments, **extremes}

    @classmethod
    def parse(cls, state: State) -> "Numbers":
        numbers = cls()
        numbers.count, numbers.is_number = state["count"], state["is_number"]
        numbers.total = int(state["total"]) if state["total"].lstrip("-").isdigit() else float(state["total"])
        numbers.mean, numbers.squares = float(state["mean"]), float(state["squares"])
        numbers.low, numbers.high = (unpack(state[k]) if state[k] else None for k in ("low", "high"))
        return numbers


def sum_exactly(values: np.ndarray) -> float:
    """Integers without overflow; floating point as numpy adds it up (pairwise)."""
    if values.dtype.kind == "f":
        with np.errstate(invalid="ignore", over="ignore"):
            return float(values.sum(dtype=np.float64))
    if values.dtype.itemsize < 8:
        return int(values.sum(dtype=np.int64))
    return (int((values >> 32).sum()) << 32) + int((values & 0xFFFFFFFF).sum())


def pack(table: pa.Table) -> str:
    """A small table as text, with its exact types."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return base64.b64encode(sink.getvalue()).decode()


def unpack(text: str) -> pa.Table:
    return pa.ipc.open_stream(base64.b64decode(text)).read_all()


def _clean(table: pa.Table) -> pa.Table:
    """NaN is null, as in pandas; one chunk a column."""
    table = table.combine_chunks()
    for place, field_ in enumerate(table.schema):
        column = table[field_.name]
        if pa.types.is_floating(field_.type) and pc.any(pc.is_nan(column)).as_py():
            column = pc.if_else(pc.is_nan(column), pa.scalar(None, field_.type), column)
            table = table.set_column(place, field_.name, column)
    return table


def _shortened(column: pa.ChunkedArray) -> pa.ChunkedArray:
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    return pc.utf8_slice_codeunits(column, 0, SAMPLE_TEXT) if is_text else column


@contextlib.contextmanager
def _failing(fail: Callable[[Exception], None]) -> Any:
    """What Great Expectations raises on the data is the expectation's result, not the end of the scan."""
    try:
        yield
    except Exception as error:
        fail(error)
