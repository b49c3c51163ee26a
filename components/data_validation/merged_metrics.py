"""The states of all shards merged, and the values of metrics that follow from them."""

import math
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from great_expectations.validator.metric_configuration import MetricConfiguration

from modelmill.components.data_validation import aggregates, engine
from modelmill.components.data_validation.engine import MISSING, CannotCompute
from modelmill.components.data_validation.numbers import Numbers
from modelmill.components.data_validation.packing import unpack
from modelmill.components.data_validation.plan import (
    ACROSS_ROWS,
    PRESENCE,
    QUERY,
    SAMPLES,
    Need,
    base_of,
    need_of,
    table_need,
)
from modelmill.components.data_validation.rejections import out_of_order
from modelmill.components.data_validation.scan import State
from modelmill.components.data_validation.value_counts import ValueCounts
from modelmill.core.errors import ModelmillError

# Metrics that Great Expectations derives from the columns' types and from other metrics.
_DERIVED = {
    "table.columns",
    "table.column_count",
    "table.column_types",
    "column.unique_proportion",
    "column.non_null_proportion",
}
_STATISTICS = {"column.mean", "column.standard_deviation", "column.outlier_statistics"}


@dataclass
class ScannedShard:
    """The state of a shard, or why it could not be read.

    Attributes:
        state: The state as JSON.
        files: Files of value counts, by the names that the state has for them.
        error: Why the shard could not be read.
    """

    state: State
    files: dict[str, Path]
    error: Exception | None = None

    @property
    def dropped(self) -> list[int]:
        """Numbers of the rows that no expectation sees, from 1."""
        return list(self.state["dropped"])

    @property
    def has_rejects(self) -> bool:
        """Whether any condition on single rows rejects a row or cannot be computed."""
        return any("error" in state or state["rejected"] for state in self.state["conditions"].values())


class MergedMetrics:
    """What is known of all the data, after the first pass and after the second.

    Attributes:
        schema: Schema of all the data.
        rows: Number of rows.
        nulls: Number of nulls in each column.
        prototype: Great Expectations' engine on an empty frame with the types of all the data.
    """

    def __init__(self, schema: pa.Schema, scanned: list[ScannedShard], scratch: Path) -> None:
        """Merge the states of the first pass.

        Args:
            schema: Schema of all the data.
            scanned: The shards in their order.
            scratch: A folder for what the merging of value counts spills.
        """
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
        """Add the states of the second pass."""
        self._seconds = states

    def known(self, metric: MetricConfiguration) -> Any:
        """Return the value of a metric that the states hold, or MISSING for one that follows from others.

        Raises:
            CannotCompute: It cannot be computed on this data.
        """
        row_wise = base_of(metric)
        need = need_of(metric, row_wise[0] if row_wise else None)
        if row_wise:
            return self._row_wise(need, row_wise[1])
        if metric.metric_name in _DERIVED:
            return MISSING
        if metric.metric_name not in aggregates.VALUES:
            raise CannotCompute(f"{metric.metric_name} is not known of data in shards")
        return aggregates.VALUES[metric.metric_name](self, need)

    def value(self, metric: MetricConfiguration) -> Any:
        """Return the value of a metric.

        Raises:
            CannotCompute: It cannot be computed on this data.
        """
        try:
            return engine.resolve(self.prototype, metric, self.known)
        except (CannotCompute, ModelmillError):
            raise
        except Exception as error:
            raise CannotCompute(str(error)) from error

    def repeated(self, need: Need) -> pa.Table | None:
        """Return the values that occur more often than they may and begin first, or None where there are none."""
        try:
            total, values = self._repeated_of(need)
        except CannotCompute:  # the expectation says so
            return None
        return values if total else None

    def statistic(self, metric: MetricConfiguration) -> Any:
        """Return the value of a whole column's metric that conditions on single rows depend on, or else MISSING."""
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
            count = self.count(need)
            return count["nulls"] if need.metric == "column_values.nonnull" else count["rows"] - count["nulls"]
        if suffix == ".filtered_row_count" and need.metric in ACROSS_ROWS:
            return self.value_counts(table_need(need, "value_counts")).rows()
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
        if need.metric in ACROSS_ROWS:
            key = table_need(need, "value_counts").key
            return [s["repeated"][key] for s in self._seconds if key in s["repeated"]]
        for group, states in (("conditions", self._states), ("conditions", self._seconds)):
            if states and need.key in states[0][group]:
                return [s[group][need.key] for s in states]
        return self._across_shards(need, [s["ordered"][need.key] for s in self._states])

    def _rejected(self, need: Need, states: list[State]) -> int:
        if need.metric in ACROSS_ROWS:
            return self._repeated_of(table_need(need, "value_counts"))[0]
        return sum(state["rejected"] for state in states)

    def _across_shards(self, need: Need, states: list[State]) -> list[State]:
        """Return order states in which each shard's first value was compared with the last value before the shard."""
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
        """Return the first rejected rows of all the data, with their numbers in it."""
        starts = self._starts if len(states) == len(self._states) else [0] * len(states)
        tables = []
        for start, state in zip(starts, states, strict=False):
            if state["samples"]:
                table = state["samples"] if isinstance(state["samples"], pa.Table) else unpack(state["samples"])
                rows = pa.array(table["__row"].to_numpy() + start)
                tables.append(table.set_column(table.column_names.index("__row"), "__row", rows))
        return pa.concat_tables(tables, promote_options="permissive").slice(0, SAMPLES) if tables else None

    def _values(self, need: Need, samples: pa.Table) -> list[Any]:
        """Return sample values in the shape that the kind of expectation gives them."""
        names = need.columns
        target = pa.schema([self.schema.field(n) if n in self.schema.names else samples.schema.field(n) for n in names])
        frame = engine.frame_of(samples.select(names).cast(target))
        if "column" in need.domain:
            return list(frame[names[0]])
        if "column_list" in need.domain:
            return list(frame.to_dict("records"))
        return list(zip(frame[names[0]].values, frame[names[1]].values, strict=True))

    # --- counts, numbers, value_counts

    def count(self, need: Need) -> dict[str, int]:
        """Return the number of rows that the need looks at, and of nulls among them."""
        key = table_need(need, "counts").key
        self._raise_error(key)
        return {kind: sum(s["counts"][key][kind] for s in self._states) for kind in ("rows", "nulls")}

    def _raise_error(self, key: str) -> None:
        """Raise what kept a shard from being scanned for a need."""
        for state in self._states:
            if key in state["errors"]:
                raise CannotCompute(state["errors"][key])

    def _nulls_of(self, name: str) -> int:
        return sum(s["nulls"].get(name, s["rows"]) for s in self._states)

    def numbers(self, need: Need) -> Numbers:
        """Return the extremes and moments of the need's column."""
        key = table_need(need, "numbers").key
        self._raise_error(key)
        merged = Numbers()
        totals = []
        for state in self._states:
            other = Numbers.parse(state["numbers"][key])
            merged.merge(other)
            totals.append(other.total)
        exact = [total for total in totals if isinstance(total, int | Decimal)]
        merged.total = sum(exact) if len(exact) == len(totals) else _float_sum([float(total) for total in totals])
        return merged

    def value_counts(self, need: Need) -> ValueCounts:
        """Return how often each value of the need's columns occurs."""
        self._raise_error(need.key)
        files = [
            (shard.files[name], start)
            for shard, start in zip(self._scanned, self._starts, strict=False)
            for name in shard.state["value_counts"][need.key]
        ]
        types = [self.schema.field(n).type if n in self.schema.names else pa.null() for n in need.columns]
        return ValueCounts(files, types, self._scratch)

    def _repeated_of(self, need: Need) -> tuple[int, pa.Table]:
        if need.key not in self._repeated:
            counts = self.value_counts(need)
            is_pair = "column_A" in need.domain
            self._repeated[need.key] = counts.undetermined(SAMPLES) if is_pair else counts.repeated(SAMPLES)
        return self._repeated[need.key]

    def type_of(self, need: Need) -> pa.DataType:
        """Return the type of the need's first column."""
        return self.schema.field(need.columns[0]).type


def _float_sum(totals: list[float]) -> float:
    return math.fsum(totals) if all(math.isfinite(t) for t in totals) else float(sum(totals))
