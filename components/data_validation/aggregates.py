"""Values of the metrics of whole columns, from the merged states."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from great_expectations.validator.metric_configuration import MetricConfiguration

from modelmill.components.data_validation import engine
from modelmill.components.data_validation.engine import CannotCompute
from modelmill.components.data_validation.plan import SAMPLES, Need, table_need

if TYPE_CHECKING:
    from modelmill.components.data_validation.merged_metrics import MergedMetrics


def _on_prototype(merged: "MergedMetrics", need: Need) -> Any:
    """Return what Great Expectations says of a column without a single value."""
    count = merged.count(need)
    name = need.columns[0]
    # To pandas, a column of integers that are all missing is floating point, unless it is told otherwise.
    type_ = pa.float64() if pa.types.is_integer(merged.type_of(need)) else merged.type_of(need)
    frame = engine.prototype(pa.schema([(name, type_)]), merged.nulls, rows=min(count["rows"], 2))
    domain = {"column": name}
    return engine.resolve(engine.engine_on(frame), MetricConfiguration(need.metric, domain, need.arguments))


def _is_empty(merged: "MergedMetrics", need: Need) -> bool:
    count = merged.count(need)
    return count["rows"] == count["nulls"]


def _require_number(merged: "MergedMetrics", need: Need) -> None:
    if not _is_number(merged.type_of(need)):
        raise CannotCompute(f"{need.metric} of {need.columns[0]!r}, a column of type {merged.type_of(need)}")


def _in_frame(merged: "MergedMetrics", column: pa.ChunkedArray | pa.Array, need: Need) -> pd.Series:
    """Return values as they are in a frame of all the data."""
    return engine.frame_of(pa.table({"v": column.cast(merged.type_of(need))}))["v"]


def _extreme(merged: "MergedMetrics", need: Need) -> Any:
    if _is_empty(merged, need):
        return _on_prototype(merged, need)
    numbers = merged.numbers(need)
    table = numbers.low if need.metric == "column.min" else numbers.high
    if table is None:
        raise CannotCompute(f"{need.metric} of {need.columns[0]!r}, a column of type {merged.type_of(need)}")
    return _in_frame(merged, table["v"], need).iloc[0]


def _moment(merged: "MergedMetrics", need: Need) -> Any:
    if _is_empty(merged, need):
        return _on_prototype(merged, need)
    _require_number(merged, need)
    numbers = merged.numbers(need)
    if need.metric == "column.sum":
        return numbers.total
    if need.metric == "column.mean":
        return numbers.total / numbers.count if math.isfinite(numbers.total) else numbers.total
    return math.sqrt(numbers.squares / (numbers.count - 1)) if numbers.count > 1 else math.nan


def _median(merged: "MergedMetrics", need: Need) -> Any:
    if _is_empty(merged, need):
        return _on_prototype(merged, need)
    _require_number(merged, need)
    value_counts = merged.value_counts(table_need(need, "value_counts"))
    count = value_counts.rows()
    values = value_counts.at([(count - 1) // 2, count // 2])
    low, high = float(values[(count - 1) // 2].as_py()), float(values[count // 2].as_py())
    return low if low == high else (low + high) / 2


def _quantiles(merged: "MergedMetrics", need: Need) -> Any:
    if _is_empty(merged, need):
        return _on_prototype(merged, need)
    _require_number(merged, need)
    method = need.arguments.get("allow_relative_error") or "nearest"
    if method not in ("linear", "lower", "higher", "midpoint", "nearest"):
        return _on_prototype(merged, need)
    values = _at_quantiles(merged, need, need.arguments["quantiles"], method)
    return [bool(v) for v in values] if pa.types.is_boolean(merged.type_of(need)) else values


def _at_quantiles(merged: "MergedMetrics", need: Need, quantiles: list[float], method: str) -> list[float]:
    value_counts = merged.value_counts(table_need(need, "value_counts"))
    last = value_counts.rows() - 1
    places = [q * last for q in quantiles]
    values = value_counts.at([p for place in places for p in (math.floor(place), math.ceil(place))])

    def pick(place: float) -> float:
        low, high = (float(values[p].as_py()) for p in (math.floor(place), math.ceil(place)))
        part = place - math.floor(place)
        weights = {"linear": part, "lower": 0.0, "higher": float(part > 0), "midpoint": 0.5 * (part > 0)}
        weights["nearest"] = float(round(place) > math.floor(place))
        weight = weights[method]
        return low if weight == 0 else high if weight == 1 else low + (high - low) * weight

    return [pick(place) for place in places]


def _outliers(merged: "MergedMetrics", need: Need) -> Any:
    from great_expectations.expectations.metrics.column_aggregate_metrics import column_outlier_statistics as module

    if _is_empty(merged, need):
        return _on_prototype(merged, need)
    _require_number(merged, need)
    if need.arguments["method"] != module.IQR_METHOD:
        mean, deviation = (_moment(merged, table_need(need, m)) for m in ("column.mean", "column.standard_deviation"))
        return module.OutlierStatistics.symmetric(center=module._to_float(mean), spread=module._to_float(deviation))
    low, high = (module._to_float(v) for v in _at_quantiles(merged, need, [0.25, 0.75], "linear"))
    return module.OutlierStatistics(lower_reference=low, upper_reference=high, spread=module._spread_between(low, high))


def _distinct(merged: "MergedMetrics", need: Need) -> int:
    return merged.value_counts(table_need(need, "value_counts")).distinct()


def _not_in_set(merged: "MergedMetrics", need: Need) -> Any:
    """Return the distinct values outside a set: their number, or the first of them in order."""
    outside: list[Any] = []
    total = 0
    for values, _ in merged.value_counts(table_need(need, "value_counts")).sorted():
        here = set(_in_frame(merged, values, need).unique())
        extra = here - _expected(merged, here, need)
        total += len(extra)
        outside = sorted([*outside, *extra])[:SAMPLES]
    return total if need.metric.endswith(".count") else outside


def _missing(merged: "MergedMetrics", need: Need) -> Any:
    """Return the values of a set that the column lacks: their number, or the first of them."""
    missing: set[Any] | None = None
    for values, _ in merged.value_counts(table_need(need, "value_counts")).sorted():
        here = set(_in_frame(merged, values, need).unique())
        expected = _expected(merged, here, need)
        missing = (expected if missing is None else missing) - here
    if missing is None:
        missing = _expected(merged, set(), need)
    return len(missing) if need.metric.endswith(".count") else list(missing)[:SAMPLES]


def _expected(merged: "MergedMetrics", here: set[Any], need: Need) -> set[Any]:
    from great_expectations.expectations.metrics.column_aggregate_metrics import (
        column_distinct_values_not_in_set as m,
    )

    return set(m._coerce_value_set_to_column_type(here, need.arguments["value_set"]))


def _most_common(merged: "MergedMetrics", need: Need) -> list[Any]:
    best = 0
    most: list[pa.Array] = []
    for values, counts in merged.value_counts(table_need(need, "value_counts")).sorted():
        if counts.max() > best:
            best, most = int(counts.max()), []
        if counts.max() == best:
            most.append(values.filter(pa.array(counts == best)))
    return list(_in_frame(merged, pa.chunked_array(most), need).values) if most else []


def _value_counts(merged: "MergedMetrics", need: Need) -> pd.Series:
    pieces = [
        pd.Series(counts, index=pd.Index(_in_frame(merged, values, need), name="value"), name="count")
        for values, counts in merged.value_counts(table_need(need, "value_counts")).sorted()
    ]
    return pd.concat(pieces) if pieces else pd.Series([], name="count", dtype="int64")


def _histogram(merged: "MergedMetrics", need: Need) -> list[int]:
    _require_number(merged, need)
    bins = np.array(need.arguments["bins"], dtype=np.float64)
    total = np.zeros(len(bins) - 1, np.int64)
    for values, counts in merged.value_counts(table_need(need, "value_counts")).sorted():
        numbers = values.to_numpy(zero_copy_only=False).astype(np.float64)
        total += np.histogram(numbers, bins, weights=counts)[0].astype(np.int64)
    return [int(n) for n in total]


def _between_count(merged: "MergedMetrics", need: Need) -> np.int64:
    _require_number(merged, need)
    a = need.arguments
    total = 0
    for values, counts in merged.value_counts(table_need(need, "value_counts")).sorted():
        v = values.to_numpy(zero_copy_only=False)
        inside = np.ones(len(v), bool)
        if a.get("min_value") is not None:
            inside &= v > a["min_value"] if a.get("strict_min") else v >= a["min_value"]
        if a.get("max_value") is not None:
            inside &= v < a["max_value"] if a.get("strict_max") else v <= a["max_value"]
        total += int(counts[inside].sum())
    return np.int64(total)


def _nonnull(merged: "MergedMetrics", need: Need) -> np.int64:
    count = merged.count(need)
    return np.int64(count["rows"] - count["nulls"])  # Great Expectations divides by it, also by 0


def _is_number(type_: pa.DataType) -> bool:
    is_exact = pa.types.is_integer(type_) or pa.types.is_decimal(type_) or pa.types.is_boolean(type_)
    return bool(is_exact or pa.types.is_floating(type_))


VALUES: dict[str, Callable[["MergedMetrics", Need], Any]] = {
    "table.row_count": lambda merged, need: merged.count(need)["rows"],
    "column.non_null_count": _nonnull,
    "column_values.nonnull.count": _nonnull,
    "column.min": _extreme,
    "column.max": _extreme,
    "column.sum": _moment,
    "column.mean": _moment,
    "column.standard_deviation": _moment,
    "column.median": _median,
    "column.quantile_values": _quantiles,
    "column.outlier_statistics": _outliers,
    "column.distinct_values.count": _distinct,
    "column.distinct_values.not_in_set": _not_in_set,
    "column.distinct_values.not_in_set.count": _not_in_set,
    "column.distinct_values.missing_from_column": _missing,
    "column.distinct_values.missing_from_column.count": _missing,
    "column.most_common_value": _most_common,
    "column.value_counts": _value_counts,
    "column.histogram": _histogram,
    "column_values.between.count": _between_count,
}
