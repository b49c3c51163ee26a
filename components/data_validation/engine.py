"""Great Expectations' own metrics, computed on one small frame of the data or from values that are known already."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from great_expectations.execution_engine import PandasExecutionEngine
from great_expectations.expectations.registry import get_metric_provider
from great_expectations.validator.metric_configuration import MetricConfiguration

# A metric's value if it is known without the frame, else MISSING.
Known = Callable[[MetricConfiguration], Any]
MISSING = object()


class CannotCompute(Exception):
    """A metric raised on this data; the expectation that asks for it has failed."""


def frame_of(table: pa.Table) -> pd.DataFrame:
    """The table for Great Expectations; integers with nulls stay integers, floating point would round large ones."""
    frame = table.to_pandas()
    for field in table.schema:
        if pa.types.is_integer(field.type) and table[field.name].null_count:
            frame[field.name] = table[field.name].to_pandas(types_mapper=_nullable_integer)
    return frame


def prototype(schema: pa.Schema, nulls: dict[str, int], rows: int = 0) -> pd.DataFrame:
    """A frame with the types that a frame of all the data would have, of no rows or of rows of nulls.

    Args:
        nulls: how many nulls each column has; without any, a column of integers is not a nullable one.
    """
    columns = {}
    for field in schema:
        empty = pa.nulls(max(rows, 1), field.type) if nulls.get(field.name) else pa.array([], field.type)
        columns[field.name] = frame_of(pa.table({field.name: empty}))[field.name].iloc[:rows]
    return pd.DataFrame(columns)


def engine_on(frame: pd.DataFrame) -> PandasExecutionEngine:
    return PandasExecutionEngine(batch_data_dict={"piece": frame})


def resolve(engine: PandasExecutionEngine, metric: MetricConfiguration, known: Known = lambda metric: MISSING) -> Any:
    """A metric's value, and on the way there the values of those that it depends on.

    Raises:
        Exception: whatever the metric raises on this data.
    """
    return _resolve(engine, metric, known, {})[metric.id]


def unexpected_rows(
    engine: PandasExecutionEngine, metric: MetricConfiguration, known: Known = lambda metric: MISSING
) -> np.ndarray:
    """Positions (int64, ascending) of the rows of the engine's frame that a map metric rejects.

    Args:
        metric: named without a suffix, as `column_values.between`.
    """
    condition = MetricConfiguration(
        f"{metric.metric_name}.condition", metric.metric_domain_kwargs, metric.metric_value_kwargs
    )
    rejected, _, _ = resolve(engine, condition, known)
    rejected = pd.Series(rejected)
    is_rejected = rejected.fillna(True).to_numpy(dtype=bool) if rejected.hasnans else rejected.to_numpy(dtype=bool)
    return np.sort(rejected.index.to_numpy()[is_rejected]).astype(np.int64)


def domain_rows(engine: PandasExecutionEngine, domain: dict[str, Any]) -> np.ndarray:
    """Positions of the rows that are in a domain: that meet its row condition and are not to be ignored."""
    return engine.get_domain_records(domain_kwargs=domain).index.to_numpy().astype(np.int64)


def _resolve(
    engine: PandasExecutionEngine, metric: MetricConfiguration, known: Known, values: dict[Any, Any]
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
