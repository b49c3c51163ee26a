"""The reference: Great Expectations' own validation of all rows in one pandas frame."""

from typing import Any

import great_expectations as gx
import pandas as pd
import pyarrow as pa
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)

from modelmill.components.data_validation import suite as suites
from modelmill.components.data_validation.engine import frame_of


def validate(suite: dict[str, Any], table: pa.Table) -> list[dict[str, Any]]:
    """Each expectation's result, in the suite's order.

    What raises on pandas' nullable integers is asked again of the floating point that pandas makes of them by default.
    """
    results = on_frame(suite, frame_of(table))
    if any(raised(result) for result in results):
        plain = on_frame(suite, table.to_pandas())
        results = [b if raised(a) else a for a, b in zip(results, plain, strict=True)]
    return results


def on_frame(suite: dict[str, Any], frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Each expectation's result on a frame as it is, in the suite's order."""
    checked = suites.parse(suite)
    for place, expectation in enumerate(checked.expectations):
        expectation.id = str(place)
    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(),
        progress_bars=ProgressBarsConfig(globally=False),
        analytics_enabled=False,
    )
    context = gx.get_context(mode="ephemeral", project_config=config)
    asset = context.data_sources.add_pandas("reference").add_dataframe_asset("data")
    batch = asset.add_batch_definition_whole_dataframe("all rows").get_batch({"dataframe": frame})
    outcome = batch.validate(checked, result_format={"result_format": "SUMMARY", "partial_unexpected_count": 20})
    results = outcome.to_json_dict()["results"]
    return sorted(results, key=lambda one: int(one["expectation_config"]["id"]))


def raised(result: dict[str, Any]) -> bool:
    """Whether the expectation, or a metric that it needs, raised."""
    info = result["exception_info"]
    return bool(
        info.get("raised_exception", any("exception_message" in i for i in info.values() if isinstance(i, dict)))
    )
