"""The states of all shards as one, and the values of metrics that follow from it."""

import bisect
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from great_expectations.validator.metric_configuration import MetricConfiguration

from components.common.errors import ModelmillError
from components.data_validation import engine
from components.data_validation.engine import MISSING
from components.data_validation.plan import PRESENCE, QUERY, SAMPLES, UNIQUE, Need, base_of, need_of, table_need
from components.data_validation.scan import Numbers, State, out_of_order, unpack
from components.data_validation.tally import Tally

# Metrics that Great Expectations works out from the types of the columns and from those that are given to it.
_DERIVED = {
    "table.columns",
    "table.column_count",
    "table.column_types",
    "column.unique_proportion",
    "column.non_null_proportion",
}
_STATISTICS = {"column.mean", "column.standard_deviation", "column.outlier_statistics"}


class CannotCompute(Exception):
    """A metric raised on this data; the expectation that asks for it has failed."""


@dataclass
class ScannedShard:
    """A shard's state, and its tallies by the names that the state has for them; or why it could not be read."""

    state: State
    files: dict[str, Path]
    error: Exception | None = None

    @property
    def has_rejects(self) -> bool:
        """Whether any condition on single rows rejects any of them, or cannot be computed."""
        return any("error" in state or state["rejected"] for state in self.state["conditions"].values())


class Merged:
    """What is known of all the data after the first pass, and after the second.

    Args:
        schema: of the data as a whole. scanned: the shards in their order. second: states of the second pass.
    """

    def __init__(self, schema: pa.Schema, scanned: list[ScannedShard], scratch: Path) -> None:
        self.schema, self._scanned, self._scratch = schema, scanned, scratch
        self._states = [s.state for s in scanned]
        self._starts = [0, *np.cumsum([s["rows"] for s in self._states]).tolist()]
        self.rows = self._starts[-1]
        self._seconds: list[State] = []
        self.nulls = {f.name: self._nulls_of(f.name) for f in schema}
        self.prototype = engine.engine_on(engine.prototype(schema, self.nulls))
        self._repeated: dict[str, tuple[int, pa.Table]] = {}
        self._statistics: dict[Any, Any] = {}

    def after_second_pass(self, states: list[State]) -> None:
        self._seconds = states

    def known(self, metric: MetricConfiguration) -> Any:
        """The value of a metric that the states hold; MISSING for one that follows from others.

        Raises:
            CannotCompute: it cannot be computed on this data.
        """
        row_wise = base_of(metric)
        need = need_of(metric, row_wise[0] if row_wise else None)
        if row_wise:
            return self._row_wise(need, row_wise[1])
        if metric.metric_name in _DERIVED:
            return MISSING
        if metric.metric_name not in _VALUES:
            raise CannotCompute(f"{metric.metric_name} is not known of data in shards")
        return _VALUES[metric.metric_name](self, need)

    def value(self, metric: MetricConfiguration) -> Any:
        """
        Raises:
            CannotCompute: it cannot be computed on this data.
        """
        try:
            return engine.resolve(self.prototype, metric, self.known)
        except (CannotCompute, ModelmillError):
            raise
        except Exception as error:
            raise CannotCompute(str(error)) from error

    def repeated(self, need: Need) -> pa.Table | None:
        """Of a tally, the values that occur more than once and begin first; None where no value repeats."""
        total, values = self._repeated_of(need)
        return values if total else None

    def statistic(self, metric: MetricConfiguration) -> Any:
        """The value of a metric of a whole column that a condition on single rows depends on; else MISSING."""
        if metric.metric_name not in _STATISTICS:
            return MISSING
        if metric.id not in self._statistics:
            self._statistics[metric.id] = self.known(metric)
        return self._statistics[metric.id]

    # --- rows that conditions reject

    def _row_wise(self, need: Need, suffix: str) -> Any:
        if suffix == QUERY:
            return None
        if suffix == ".unexpected_count" and need.metric in PRESENCE:
            count = self._count(need)
            return count["nulls"] if need.metric == "column_values.nonnull" else count["rows"] - count["nulls"]
        if suffix == ".filtered_row_count" and need.metric in UNIQUE:
            return self._tally(table_need(need, "tally")).rows()
        states = self._conditions(need)
        for state in states:
            if "error" in state:
                raise CannotCompute(state["error"])
        if suffix == ".filtered_row_count":
            return sum(state["filtered"] for state in states)
        if suffix == ".unexpected_count":
            return self._rejected(need, states)
        samples = self._samples(states)
        if suffix == ".unexpected_index_list":
            return samples["__row"].to_pylist() if samples is not None else []
        return self._values(need, samples) if samples is not None else []

    def _conditions(self, need: Need) -> list[State]:
        if need.metric in UNIQUE:
            key = table_need(need, "tally").key
            return [s["repeated"][key] for s in self._seconds if key in s["repeated"]]
        for group, states in (("conditions", self._states), ("conditions", self._seconds)):
            if states and need.key in states[0][group]:
                return [s[group][need.key] for s in states]
        return self._across_shards(need, [s["ordered"][need.key] for s in self._states])

    def _rejected(self, need: Need, states: list[State]) -> int:
        if need.metric in UNIQUE:
            return self._repeated_of(table_need(need, "tally"))[0]
        return sum(state["rejected"] for state in states)

    def _across_shards(self, need: Need, states: list[State]) -> list[State]:
        """Order states in which each shard's first value has been held against the last value before the shard."""
        checked, before = [], None
        for state in states:
            if "error" in state or state["first"] is None:
                checked.append(state)
                continue
            first = unpack(state["first"])
            name = need.columns[0]
            try:
                is_bad = before is not None and len(out_of_order(need, before, first.select([name])))
            except Exception as error:
                return [{"error": str(error)}]
            if is_bad:
                later = [unpack(state["samples"])] if state["samples"] else []
                samples = pa.concat_tables([first, *later], promote_options="permissive").slice(0, SAMPLES)
                state = state | {"rejected": state["rejected"] + 1, "samples": samples}
            checked.append(state)
            before = unpack(state["last"])
        return checked

    def _samples(self, states: list[State]) -> pa.Table | None:
        """The first rejected rows of all the data, with their numbers in it."""
        starts = self._starts if len(states) == len(self._states) else [0] * len(states)
        found = []
        for start, state in zip(starts, states, strict=False):
            if state["samples"]:
                table = state["samples"] if isinstance(state["samples"], pa.Table) else unpack(state["samples"])
                rows = pa.array(table["__row"].to_numpy() + start)
                found.append(table.set_column(table.column_names.index("__row"), "__row", rows))
        return pa.concat_tables(found, promote_options="permissive").slice(0, SAMPLES) if found else None

    def _values(self, need: Need, samples: pa.Table) -> list[Any]:
        """Sample values in the shape that the kind of expectation gives them."""
        names = need.columns
        target = pa.schema([self.schema.field(n) if n in self.schema.names else samples.schema.field(n) for n in names])
        frame = engine.frame_of(samples.select(names).cast(target))
        if "column" in need.domain:
            return list(frame[names[0]])
        if "column_list" in need.domain:
            return list(frame.to_dict("records"))
        return list(zip(frame[names[0]].values, frame[names[1]].values, strict=True))

    # --- counts, numbers, tallies

    def _count(self, need: Need) -> dict[str, int]:
        key = table_need(need, "counts").key
        return {kind: sum(s["counts"][key][kind] for s in self._states) for kind in ("rows", "nulls")}

    def _nulls_of(self, name: str) -> int:
        return sum(s["nulls"].get(name, s["rows"]) for s in self._states)

    def _numbers(self, need: Need) -> Numbers:
        key = table_need(need, "numbers").key
        merged = Numbers()
        totals = []
        for state in self._states:
            other = Numbers.parse(state["numbers"][key])
            merged.merge(other)
            totals.append(other.total)
        merged.total = sum(totals) if all(isinstance(t, int) for t in totals) else _float_sum(totals)
        return merged

    def _tally(self, need: Need) -> Tally:
        files = [
            (shard.files[name], start)
            for shard, start in zip(self._scanned, self._starts, strict=False)
            for name in shard.state["tallies"][need.key]
        ]
        types = [self.schema.field(n).type if n in self.schema.names else pa.null() for n in need.columns]
        return Tally(files, types, self._scratch)

    def _repeated_of(self, need: Need) -> tuple[int, pa.Table]:
        if need.key not in self._repeated:
            self._repeated[need.key] = self._tally(need).repeated(SAMPLES)
        return self._repeated[need.key]

    def _type(self, need: Need) -> pa.DataType:
        return self.schema.field(need.columns[0]).type

    def _on_prototype(self, need: Need) -> Any:
        """What Great Expectations says of a column without one value."""
        count = self._count(need)
        name = need.columns[0]
        # Integers without one value are all missing: floating point to pandas, unless it is told otherwise.
        type_ = pa.float64() if pa.types.is_integer(self._type(need)) else self._type(need)
        frame = engine.prototype(pa.schema([(name, type_)]), self.nulls, rows=min(count["rows"], 2))
        domain = {"column": name}
        return engine.resolve(engine.engine_on(frame), MetricConfiguration(need.metric, domain, need.arguments))

    def _is_empty(self, need: Need) -> bool:
        count = self._count(need)
        return count["rows"] == count["nulls"]

    def _require_number(self, need: Need) -> None:
        if not _is_number(self._type(need)):
            raise CannotCompute(f"{need.metric} of {need.columns[0]!r}, a column of type {self._type(need)}")

    def _in_frame(self, column: pa.ChunkedArray | pa.Array, need: Need) -> pd.Series:
        """Values as they are in a frame of all the data."""
        return engine.frame_of(pa.table({"v": column.cast(self._type(need))}))["v"]

    def _extreme(self, need: Need) -> Any:
        if self._is_empty(need):
            return self._on_prototype(need)
        numbers = self._numbers(need)
        table = numbers.low if need.metric == "column.min" else numbers.high
        if table is None:
            raise CannotCompute(f"{need.metric} of {need.columns[0]!r}, a column of type {self._type(need)}")
        return self._in_frame(table["v"], need).iloc[0]

    def _moment(self, need: Need) -> Any:
        if self._is_empty(need):
            return self._on_prototype(need)
        self._require_number(need)
        numbers = self._numbers(need)
        if need.metric == "column.sum":
            return numbers.total
        if need.metric == "column.mean":
            return numbers.total / numbers.count if math.isfinite(numbers.total) else numbers.total
        return math.sqrt(numbers.squares / (numbers.count - 1)) if numbers.count > 1 else math.nan

    def _median(self, need: Need) -> Any:
        if self._is_empty(need):
            return self._on_prototype(need)
        self._require_number(need)
        tally = self._tally(table_need(need, "tally"))
        count = tally.rows()
        found = tally.at([(count - 1) // 2, count // 2])
        low, high = float(found[(count - 1) // 2].as_py()), float(found[count // 2].as_py())
        return low if low == high else (low + high) / 2

    def _quantiles(self, need: Need) -> Any:
        if self._is_empty(need):
            return self._on_prototype(need)
        self._require_number(need)
        method = need.arguments.get("allow_relative_error") or "nearest"
        if method not in ("linear", "lower", "higher", "midpoint", "nearest"):
            return self._on_prototype(need)
        values = self._at_quantiles(need, need.arguments["quantiles"], method)
        return [bool(v) for v in values] if pa.types.is_boolean(self._type(need)) else values

    def _at_quantiles(self, need: Need, quantiles: list[float], method: str) -> list[float]:
        tally = self._tally(table_need(need, "tally"))
        last = tally.rows() - 1
        places = [q * last for q in quantiles]
        found = tally.at([p for place in places for p in (math.floor(place), math.ceil(place))])

        def pick(place: float) -> float:
            low, high = (float(found[p].as_py()) for p in (math.floor(place), math.ceil(place)))
            part = place - math.floor(place)
            weights = {"linear": part, "lower": 0.0, "higher": float(part > 0), "midpoint": 0.5 * (part > 0)}
            weights["nearest"] = float(round(place) > math.floor(place))
            weight = weights[method]
            return low if weight == 0 else high if weight == 1 else low + (high - low) * weight

        return [pick(place) for place in places]

    def _outliers(self, need: Need) -> Any:
        from great_expectations.expectations.metrics.column_aggregate_metrics import column_outlier_statistics as module

        if self._is_empty(need):
            return self._on_prototype(need)
        self._require_number(need)
        if need.arguments["method"] != module.IQR_METHOD:
            mean, deviation = (self._moment(table_need(need, m)) for m in ("column.mean", "column.standard_deviation"))
            return module.OutlierStatistics.symmetric(center=module._to_float(mean), spread=module._to_float(deviation))
        low, high = (module._to_float(v) for v in self._at_quantiles(need, [0.25, 0.75], "linear"))
        return module.OutlierStatistics(
            lower_reference=low, upper_reference=high, spread=module._spread_between(low, high)
        )

    def _distinct(self, need: Need) -> int:
        return self._tally(table_need(need, "tally")).distinct()

    def _not_in_set(self, need: Need) -> Any:
        """Distinct values outside a set: their number, or the first of them in order."""
        outside: list[Any] = []
        total = 0
        for values, _ in self._tally(table_need(need, "tally")).sorted():
            here = set(self._in_frame(values, need).unique())
            extra = here - self._expected(here, need)
            total += len(extra)
            outside = sorted([*outside, *extra])[:SAMPLES]
        return total if need.metric.endswith(".count") else outside

    def _missing(self, need: Need) -> Any:
        """Values of a set that the column does not have."""
        missing: set[Any] | None = None
        for values, _ in self._tally(table_need(need, "tally")).sorted():
            here = set(self._in_frame(values, need).unique())
            expected = self._expected(here, need)
            missing = (expected if missing is None else missing) - here
        if missing is None:
            missing = self._expected(set(), need)
        return len(missing) if need.metric.endswith(".count") else list(missing)[:SAMPLES]

    def _expected(self, here: set[Any], need: Need) -> set[Any]:
        from great_expectations.expectations.metrics.column_aggregate_metrics import (
            column_distinct_values_not_in_set as m,
        )

        return set(m._coerce_value_set_to_column_type(here, need.arguments["value_set"]))

    def _most_common(self, need: Need) -> list[Any]:
        best = 0
        found: list[pa.Array] = []
        for values, counts in self._tally(table_need(need, "tally")).sorted():
            if counts.max() > best:
                best, found = int(counts.max()), []
            if counts.max() == best:
                found.append(values.filter(pa.array(counts == best)))
        return list(self._in_frame(pa.chunked_array(found), need).values) if found else []

    def _value_counts(self, need: Need) -> pd.Series:
        pieces = [
            pd.Series(counts, index=pd.Index(self._in_frame(values, need), name="value"), name="count")
            for values, counts in self._tally(table_need(need, "tally")).sorted()
        ]
        return pd.concat(pieces) if pieces else pd.Series([], name="count", dtype="int64")

    def _histogram(self, need: Need) -> list[int]:
        self._require_number(need)
        bins = np.array(need.arguments["bins"], dtype=np.float64)
        total = np.zeros(len(bins) - 1, np.int64)
        for values, counts in self._tally(table_need(need, "tally")).sorted():
            numbers = values.to_numpy(zero_copy_only=False).astype(np.float64)
            total += np.histogram(numbers, bins, weights=counts)[0].astype(np.int64)
        return [int(n) for n in total]

    def _between_count(self, need: Need) -> np.int64:
        self._require_number(need)
        a = need.arguments
        total = 0
        for values, counts in self._tally(table_need(need, "tally")).sorted():
            v = values.to_numpy(zero_copy_only=False)
            inside = np.ones(len(v), bool)
            if a.get("min_value") is not None:
                inside &= v > a["min_value"] if a.get("strict_min") else v >= a["min_value"]
            if a.get("max_value") is not None:
                inside &= v < a["max_value"] if a.get("strict_max") else v <= a["max_value"]
            total += int(counts[inside].sum())
        return np.int64(total)

    def _nonnull(self, need: Need) -> np.int64:
        count = self._count(need)
        return np.int64(count["rows"] - count["nulls"])  # Great Expectations divides by it, also by 0

    def place_of(self, row: int) -> tuple[int, int]:
        """The shard that holds a row of all the data, and the row's number in it, from 0."""
        shard = bisect.bisect_right(self._starts, row) - 1
        return shard, row - self._starts[shard]


def _is_number(type_: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_boolean(type_))


def _float_sum(totals: list[float]) -> float:
    return math.fsum(totals) if all(math.isfinite(t) for t in totals) else float(sum(totals))


_VALUES: dict[str, Callable[[Merged, Need], Any]] = {
    "table.row_count": lambda m, n: m._count(n)["rows"],
    "column.non_null_count": Merged._nonnull,
    "column_values.nonnull.count": Merged._nonnull,
    "column.min": Merged._extreme,
    "column.max": Merged._extreme,
    "column.sum": Merged._moment,
    "column.mean": Merged._moment,
    "column.standard_deviation": Merged._moment,
    "column.median": Merged._median,
    "column.quantile_values": Merged._quantiles,
    "column.outlier_statistics": Merged._outliers,
    "column.distinct_values.count": Merged._distinct,
    "column.distinct_values.not_in_set": Merged._not_in_set,
    "column.distinct_values.not_in_set.count": Merged._not_in_set,
    "column.distinct_values.missing_from_column": Merged._missing,
    "column.distinct_values.missing_from_column.count": Merged._missing,
    "column.most_common_value": Merged._most_common,
    "column.value_counts": Merged._value_counts,
    "column.histogram": Merged._histogram,
    "column_values.between.count": Merged._between_count,
}
