"""An expectation that Great Expectations lacks: equal values of one column go with equal values of another.

`expect_column_pair_values_a_to_determine_b` says, for example, that no prompt is in two splits of a data set: column A
is the prompt's digest, and column B the split, or what the split goes by.
"""

from typing import Any, Literal

import pandas as pd
from great_expectations.core.expectation_validation_result import ExpectationValidationResult
from great_expectations.execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import ColumnPairMapExpectation, render_suite_parameter_string
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
from great_expectations.expectations.metrics.map_metric_provider import (
    ColumnPairMapMetricProvider,
    column_pair_condition_partial,
)
from great_expectations.render import LegacyRendererType, RenderedStringTemplateContent
from great_expectations.render.renderer.renderer import renderer

METRIC = "column_pair_values.a_determines_b"


class ColumnPairValuesADeterminesB(ColumnPairMapMetricProvider):
    """The condition on single rows, as Great Expectations computes it on a frame of all the data."""

    condition_metric_name = METRIC
    condition_domain_keys = (
        "batch_id",
        "table",
        "column_A",
        "column_B",
        "row_condition",
        "condition_parser",
        "ignore_row_if",
    )
    condition_value_keys = ()

    @column_pair_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column_A: pd.Series, column_B: pd.Series, **kwargs: Any) -> pd.Series:
        return column_B.groupby(column_A, dropna=False).transform("nunique", dropna=False) == 1


class ExpectColumnPairValuesAToDetermineB(ColumnPairMapExpectation):
    """Expect rows with the same value in column A to have the same value in column B.

    Args:
        column_A: The column whose value decides.
        column_B: The column that is decided.
        mostly: The least share of rows whose value in column A occurs with one value in column B alone.
        ignore_row_if: Which missing values leave a row out; others are values like any other.
    """

    ignore_row_if: Literal["both_values_are_missing", "either_value_is_missing", "neither"] = "both_values_are_missing"

    map_metric = METRIC
    success_keys = ("column_A", "column_B", "ignore_row_if", "mostly")
    args_keys = ("column_A", "column_B")

    @classmethod
    @renderer(renderer_type=LegacyRendererType.PRESCRIPTIVE)
    @render_suite_parameter_string
    def _prescriptive_renderer(
        cls,
        configuration: ExpectationConfiguration | None = None,
        result: ExpectationValidationResult | None = None,
        runtime_configuration: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> list[RenderedStringTemplateContent]:
        given = configuration.kwargs if configuration else {}
        params = {name: given.get(name) for name in ("column_A", "column_B")}
        params["share"] = f"{100 * given.get('mostly', 1):g}"
        template = "Rows with the same $column_A must have the same $column_B, at least $share % of them."
        content = {"template": template, "params": params, "styling": (runtime_configuration or {}).get("styling")}
        return [RenderedStringTemplateContent(content_block_type="string_template", string_template=content)]
