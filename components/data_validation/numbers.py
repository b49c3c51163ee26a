"""Count, extremes and moments of a column's numbers, in a form that merges."""

import contextlib
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modelmill.components.data_validation.packing import pack, unpack


class Numbers:
    """Count, extremes and moments of values; moments merge as in Chan, Golub and LeVeque (1983).

    Attributes:
        count: How many values were added.
        total: Their sum; exact for integers and decimals.
        mean: Their mean.
        squares: The sum of their squared deviations from the mean.
        low: The least value, in a table of one cell that keeps its type.
        high: The greatest value, in a table of one cell that keeps its type.
        is_number: Whether all values are numbers; the others have extremes at most.
    """

    def __init__(self) -> None:
        """Start without values."""
        self.count = 0
        self.total: float | Decimal = 0
        self.mean = self.squares = 0.0
        self.low: pa.Table | None = None
        self.high: pa.Table | None = None
        self.is_number = True

    def add(self, column: pa.ChunkedArray) -> None:
        """Add the values of a column, of which none is null."""
        if pa.types.is_null(column.type) or not len(column):
            return
        with contextlib.suppress(pa.ArrowNotImplementedError):
            extremes = pc.min_max(column)
            self._extremes(
                pa.table({"v": pa.array([extremes["min"].as_py()], column.type)}),
                pa.table({"v": pa.array([extremes["max"].as_py()], column.type)}),
            )
        exact: Decimal | None = None
        if pa.types.is_decimal(column.type):
            exact = pc.sum(column.cast(pa.decimal256(76, column.type.scale))).as_py()
            column = column.cast(pa.float64())
        if pa.types.is_boolean(column.type):
            column = column.cast(pa.int64())
        if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
            self.is_number = False
            self.count += len(column)
            return
        values = column.to_numpy()
        total = sum_exactly(values) if exact is None else exact
        values = values.astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            mean = float(values.mean())
            self._moments(len(values), total, mean, float(((values - mean) ** 2).sum()))

    def merge(self, other: "Numbers") -> None:
        """Add the values that another object has seen."""
        if not other.count:
            return
        if other.low is not None and other.high is not None:
            self._extremes(other.low, other.high)
        if not other.is_number:
            self.is_number = False
        self._moments(other.count, other.total, other.mean, other.squares)

    def _moments(self, count: int, total: float | Decimal, mean: float, squares: float) -> None:
        both = self.count + count
        difference = mean - self.mean
        self.squares += squares + difference * difference * self.count * count / both
        self.mean += difference * count / both
        self.total = self.total + total if self.count else total  # type: ignore[operator]
        self.count = both

    def _extremes(self, low: pa.Table, high: pa.Table) -> None:
        lows = [low] if self.low is None else [self.low, low]
        highs = [high] if self.high is None else [self.high, high]
        self.low = pa.concat_tables(lows, promote_options="permissive").combine_chunks()
        self.high = pa.concat_tables(highs, promote_options="permissive").combine_chunks()
        if len(lows) == 2:
            self.low = pa.table({"v": [pc.min(self.low["v"]).as_py()]}, schema=self.low.schema)
            self.high = pa.table({"v": [pc.max(self.high["v"]).as_py()]}, schema=self.high.schema)

    def state(self) -> dict[str, Any]:
        """Return the state as JSON."""
        moments = {k: repr(getattr(self, k)) for k in ("mean", "squares")}
        moments["total"] = f"{self.total}d" if isinstance(self.total, Decimal) else repr(self.total)
        extremes = {k: pack(v) if (v := getattr(self, k)) else None for k in ("low", "high")}
        return {"count": self.count, "is_number": self.is_number, **moments, **extremes}

    @classmethod
    def parse(cls, state: dict[str, Any]) -> "Numbers":
        """Return the object whose state this is."""
        numbers = cls()
        numbers.count, numbers.is_number = state["count"], state["is_number"]
        numbers.total = _parse_total(state["total"])
        numbers.mean, numbers.squares = float(state["mean"]), float(state["squares"])
        numbers.low, numbers.high = (unpack(state[k]) if state[k] else None for k in ("low", "high"))
        return numbers


def _parse_total(text: str) -> float | Decimal:
    if text.endswith("d"):
        return Decimal(text.removesuffix("d"))
    return int(text) if text.lstrip("-").isdigit() else float(text)


def sum_exactly(values: np.ndarray) -> float:
    """Return the sum of an array: integers without overflow, floating point as numpy adds it up (pairwise)."""
    if values.dtype.kind == "f":
        with np.errstate(invalid="ignore", over="ignore"):
            return float(values.sum(dtype=np.float64))
    if values.dtype.itemsize < 8:
        return int(values.sum(dtype=np.int64))
    return (int((values >> 32).sum()) << 32) + int((values & 0xFFFFFFFF).sum())
