"""Great Expectations as the judge: its verdict on a suite, from metrics that were computed shard by shard."""

import math
from datetime import date, datetime
from typing import Any

import great_expectations as gx
import numpy as np
import pandas as pd
import pyarrow as pa
from great_expectations.core.expectation_validation_result import (
    ExpectationSuiteValidationResult,
    ExpectationValidationResult,
)
from great_expectations.expectations.expectation import Expectation

from modelmill.components.data_validation.merged_metrics import MergedMetrics
from modelmill.components.data_validation.plan import ACROSS_ROWS, ORDERED, QUERY, RELATIVE, RESULT_FORMAT
from modelmill.components.data_validation.suite import exact

_MAX_TEXT = 300


def verdict(suite: gx.ExpectationSuite, merged: MergedMetrics) -> dict[str, Any]:
    """Return Great Expectations' own result for all rows, as strict JSON without times and ids.

    An expectation that cannot be computed on this data has failed, with its exception's message. Where rows are
    unexpected, the first 20 of them are listed, by their position in all the data.
    """
    results = [_judge(expectation, merged) for expectation in suite.expectations]
    passed = sum(bool(result.success) for result in results)
    outcome = ExpectationSuiteValidationResult(
        success=passed == len(results),
        results=results,
        suite_name=suite.name,
        statistics={
            "evaluated_expectations": len(results),
            "successful_expectations": passed,
            "unsuccessful_expectations": len(results) - passed,
            "success_percent": passed / len(results) * 100,
        },
        meta={},
    )
    return _reproducible(outcome.to_json_dict())


def broken_rules(suite: gx.ExpectationSuite, shard: MergedMetrics) -> list[dict[str, Any]]:
    """Return the results of the expectations on single rows that one shard breaks by itself.

    Args:
        suite: The suite.
        shard: The metrics of this shard alone.
    """
    rules = [
        e for e in suite.expectations if getattr(e, "map_metric", None) not in (None, *ACROSS_ROWS, *ORDERED, *RELATIVE)
    ]
    results = [_judge(expectation, shard) for expectation in rules]
    failed = [result for result in results if not result.success]
    return [_reproducible_one(result.to_json_dict()) for result in failed]


def _judge(expectation: Expectation, merged: MergedMetrics) -> ExpectationValidationResult:
    runtime = {"result_format": dict(RESULT_FORMAT)}
    configuration = expectation.configuration
    try:
        expectation = _with_times(expectation, merged.schema)
        wanted = expectation.get_validation_dependencies(
            execution_engine=merged.prototype, runtime_configuration=dict(runtime)
        )
        metrics = {m.id: merged.value(exact(m, expectation)) for m in wanted.metric_configurations.values()}
        result = expectation.metrics_validate(
            metrics=metrics, runtime_configuration=runtime, execution_engine=merged.prototype
        )
    except Exception as error:
        message = str(error) or type(error).__name__
        info = {"raised_exception": True, "exception_message": message, "exception_traceback": None}
        result = ExpectationValidationResult(success=False, exception_info=info, result={})
    result.expectation_config = configuration
    return result


def _with_times(expectation: Expectation, schema: pa.Schema) -> Expectation:
    """Return the expectation on a statistic with dates as times where its column has times.

    Python does not compare these two. The bounds of an expectation on single rows are part of what was scanned for.
    """
    column = getattr(expectation, "column", None)
    if (
        getattr(expectation, "map_metric", None) is not None
        or column not in schema.names
        or not pa.types.is_timestamp(schema.field(column).type)
    ):
        return expectation
    bounds = {key: getattr(expectation, key, None) for key in ("min_value", "max_value")}
    times = {
        key: datetime(value.year, value.month, value.day)
        for key, value in bounds.items()
        if isinstance(value, date) and not isinstance(value, datetime)
    }
    return expectation.copy(update=times) if times else expectation


def _reproducible(result: dict[str, Any]) -> dict[str, Any]:
    """Return the result without what differs between equal runs or machines: times, ids, fingerprints, tracebacks."""
    result.pop("id", None)
    result["meta"] = {"great_expectations_version": gx.__version__}
    result["results"] = [_reproducible_one(one) for one in result["results"]]
    plain: dict[str, Any] = _plain(result, None)
    return plain


def _reproducible_one(one: dict[str, Any]) -> dict[str, Any]:
    one["expectation_config"].pop("id", None)
    one["expectation_config"]["kwargs"].pop("batch_id", None)
    info = one["exception_info"]
    one["exception_info"] = {
        "raised_exception": bool(info.get("raised_exception")),
        "exception_message": str(info["exception_message"])[:_MAX_TEXT] if info.get("raised_exception") else None,
        "exception_traceback": None,
    }
    one["result"].pop(QUERY.removeprefix("."), None)
    one["result"] = _plain(one["result"], _MAX_TEXT)
    return one


def _plain(value: Any, max_text: int | None) -> Any:
    """Return JSON that any parser reads: null for NaN, infinity and missing values; texts of the data cut."""
    if isinstance(value, dict):
        return {str(k): _plain(v, max_text) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, max_text) for v in value]
    if isinstance(value, np.generic | np.ndarray):
        return _plain(value.tolist(), max_text)
    if value is None or value is pd.NA:
        return None
    if isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    text = str(value)
    return text if max_text is None or len(text) <= max_text else text[: max_text - 3] + "..."
