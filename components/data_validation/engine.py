"""Great Expectations' own metrics, computed on one small frame or taken from values that are known already."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from great_expectations.execution_engine import PandasExecutionEngine
from great_expectations.expectations.registry import get_metric_provider
from great_expectations.validator.metric_configuration import MetricConfiguration

# Returns the value of a metric that is known without the frame, else MISSING.
MetricLookup = Callable[[MetricConfiguration], Any]
MISSING = object()


class CannotCompute(Exception):
    """An exception that a metric raised on this data: the expectation that asks for it fails."""


def frame_of(table: pa.Table) -> pd.DataFrame:
    """Return the table as a pandas frame for Great Expectations.

    Integers with nulls stay integers, because floating point would round large ones.
    """
    frame = table.to_pandas()
    for field in table.schema:
        if pa.types.is_integer(field.type) and table[field.name].null_count:
            frame[field.name] = table[field.name].to_pandas(types_mapper=_nullable_integer)
    return frame


def prototype(schema: pa.Schema, nulls: dict[str, int], rows: int = 0) -> pd.DataFrame:
    """Return a frame with the column types that a frame of all the data would have.

    Args:
        schema: Schema of all the data.
        nulls: Number of nulls in each column; a column of integers without nulls is not a nullable one.
        rows: Number of rows, all null.
    """
    # Two frames and not one for each column, of which there may be many.
    with_nulls = pa.table({f.name: pa.nulls(max(rows, 1), f.type) for f in schema if nulls.get(f.name)})
    without = pa.table({f.name: pa.array([], f.type) for f in schema if not nulls.get(f.name)})
    frames = [frame_of(with_nulls).iloc[:rows], frame_of(without)]
    return pd.DataFrame({f.name: frames[not nulls.get(f.name)][f.name] for f in schema})


def engine_on(frame: pd.DataFrame) -> PandasExecutionEngine:
    """Return an execution engine on the frame."""
    return PandasExecutionEngine(batch_data_dict={"piece": frame})


def resolve(
    engine: PandasExecutionEngine, metric: MetricConfiguration, known: MetricLookup = lambda metric: MISSING
) -> Any:
    """Return a metric's value, after the values of the metrics that it depends on.

    Args:
        engine: The engine on the frame to compute on.
        metric: The metric.
        known: Looks up metrics whose values are known already.

    Raises:
        Exception: Whatever the metric raises on this data.
    """
    return _resolve(engine, metric, known, {})[metric.id]


def unexpected_rows(
    engine: PandasExecutionEngine, metric: MetricConfiguration, known: MetricLookup = lambda metric: MISSING
) -> np.ndarray:
    """Return the positions of the rows that a map metric rejects, int64, ascending.

    Args:
        engine: The engine on the frame to look at.
        metric: The metric, named without a suffix, such as `column_values.between`.
        known: Looks up metrics whose values are known already.
    """
    condition = MetricConfiguration(
        f"{metric.metric_name}.condition", metric.metric_domain_kwargs, metric.metric_value_kwargs
    )
    rejected, _, _ = resolve(engine, condition, known)
    rejected = pd.Series(rejected)
    is_rejected = rejected.fillna(True).to_numpy(dtype=bool) if rejected.hasnans else rejected.to_numpy(dtype=bool)
    return np.sort(rejected.index.to_numpy()[is_rejected]).astype(np.int64)


def domain_rows(engine: PandasExecutionEngine, domain: dict[str, Any]) -> np.ndarray:
    """Return the positions of the rows in a domain: they meet its row condition and are not to be ignored."""
    return engine.get_domain_records(domain_kwargs=domain).index.to_numpy().astype(np.int64)


def _resolve(
    engine: PandasExecutionEngine, metric: MetricConfiguration, known: MetricLookup, values: dict[Any, Any]
) -> dict[Any, Any]:
    if metric.id in values:
        return values
    if (value := known(metric)) is not MISSING:
        values[metric.id] = value
        return values
    provider, _ = get_metric_provider(metric.metric_name, engine)
    needed = provider.get_evaluation_dependencies(metric=metric, execution_engine=engine)
    metric.metric_dependencies = needed
    for dependency in needed.values():
        _resolve(engine, dependency, known, values)
    values.update(engine.resolve_metrics([metric], metrics=values))
    return values


def _nullable_integer(type_: pa.DataType) -> Any:
    return pd.api.types.pandas_dtype(str(type_).replace("uint", "UInt").replace("int", "Int"))
