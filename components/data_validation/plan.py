"""What a suite needs to know of the data, from Great Expectations' own list of the metrics that it will ask for."""

import json
from dataclasses import dataclass, field
from typing import Any

import great_expectations as gx
import pandas as pd
import pyarrow as pa
from great_expectations.expectations.expectation import Expectation
from great_expectations.validator.metric_configuration import MetricConfiguration

from modelmill.components.data_validation import dependency, engine
from modelmill.components.data_validation.suite import columns_of, exact
from modelmill.core import digest
from modelmill.core.errors import UserError

SAMPLES = 20
RESULT_FORMAT = {"result_format": "SUMMARY", "partial_unexpected_count": SAMPLES}
COUNTED = (".unexpected_count", ".unexpected_values", ".unexpected_index_list", ".filtered_row_count")
QUERY = ".unexpected_index_query"  # a line of pandas for people who hold the data in a frame; nobody does here

# Metrics of the whole table or of its columns' types: the schemas and the number of rows tell them.
TABLE = {"table.row_count", "table.columns", "table.column_count", "table.column_types"}
NUMBERS = {"column.min", "column.max", "column.sum", "column.mean", "column.standard_deviation"}
NULLS = {"column_values.nonnull.count", "column.non_null_proportion"}
BY_VALUE_COUNTS = {
    "column.median",
    "column.quantile_values",
    "column.unique_proportion",
    "column.distinct_values.count",
    "column.distinct_values.not_in_set",
    "column.distinct_values.not_in_set.count",
    "column.distinct_values.missing_from_column",
    "column.distinct_values.missing_from_column.count",
    "column.most_common_value",
    "column.value_counts",
    "column.histogram",
    "column_values.between.count",
}
PRESENCE = {"column_values.nonnull", "column_values.null"}
# Conditions on the rows that share a value, wherever these are.
ACROSS_ROWS = {"column_values.unique", "compound_columns.unique", dependency.METRIC}
ORDERED = {"column_values.increasing", "column_values.decreasing"}
# Conditions that compare a value with statistics of the whole column.
RELATIVE = {"column_values.z_score.under_threshold", "column_values.not_outliers"}


@dataclass(frozen=True)
class Need:
    """One thing to know of the data: a metric without its suffix, where it looks and what it takes.

    Attributes:
        metric: Name of the metric.
        domain_json: Column or columns, row condition and what is ignored, as JSON.
        arguments_json: The metric's arguments, as JSON.
    """

    metric: str
    domain_json: str
    arguments_json: str

    @property
    def key(self) -> str:
        """The need's name in states, the same in every run."""
        return digest.of_json([self.metric, self.domain_json, self.arguments_json])[:16]

    @property
    def domain(self) -> dict[str, Any]:
        """Column or columns, row condition and what is ignored."""
        return dict(json.loads(self.domain_json))

    @property
    def arguments(self) -> dict[str, Any]:
        """The metric's arguments."""
        return dict(json.loads(self.arguments_json))

    @property
    def columns(self) -> list[str]:
        """The columns that the metric looks at."""
        domain = self.domain
        return [domain[k] for k in ("column", "column_A", "column_B") if k in domain] + domain.get("column_list", [])

    def configuration(self) -> MetricConfiguration:
        """Return the need as Great Expectations' configuration of a metric."""
        return MetricConfiguration(self.metric, self.domain, self.arguments)


@dataclass
class Plan:
    """What one pass over the shards must find out: needs by their keys.

    Attributes:
        counts: Rows and nulls of a column under a row condition.
        conditions: Rows that a map metric rejects.
        ordered: Rows that are out of order, each compared with the row before.
        numbers: Extremes and moments of a column.
        value_counts: How often each value, or combination of values, occurs.
        unique: Values that may occur once each, or with one other value alone, by the key of their value counts.
        relative: Conditions that need the finished numbers or value counts of their column, and so a second pass.
    """

    counts: dict[str, Need] = field(default_factory=dict)
    conditions: dict[str, Need] = field(default_factory=dict)
    ordered: dict[str, Need] = field(default_factory=dict)
    numbers: dict[str, Need] = field(default_factory=dict)
    value_counts: dict[str, Need] = field(default_factory=dict)
    unique: dict[str, Need] = field(default_factory=dict)
    relative: dict[str, Need] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Digest of the needs' keys."""
        return digest.of_json([sorted(group) for group in vars(self).values()])


def need_of(metric: MetricConfiguration, name: str | None = None) -> Need:
    """Return the need behind a metric; batch, table and the format of samples do not matter to it.

    Args:
        metric: Great Expectations' configuration of the metric.
        name: The metric's name without its suffix, where it has one.
    """
    domain = {k: v for k, v in metric.metric_domain_kwargs.items() if v is not None and k not in ("batch_id", "table")}
    arguments = {k: v for k, v in metric.metric_value_kwargs.items() if k != "result_format"}
    return Need(
        name or metric.metric_name,
        json.dumps(domain, sort_keys=True, default=_jsonable),
        json.dumps(arguments, sort_keys=True, default=_jsonable),
    )


def table_need(need: Need, name: str) -> Need:
    """Return another need in the same domain, without arguments."""
    return Need(name, need.domain_json, "{}")


def rows_need(need: Need) -> Need:
    """Return the need for the number of rows that meet the need's row condition."""
    condition = {k: v for k, v in need.domain.items() if k in ("row_condition", "condition_parser")}
    return Need("counts", json.dumps(condition, sort_keys=True), "{}")


def base_of(metric: MetricConfiguration) -> tuple[str, str] | None:
    """Return a map metric's name and its suffix, or None for a metric that is not of single rows."""
    for suffix in (*COUNTED, QUERY):
        if metric.metric_name.endswith(suffix):
            return metric.metric_name.removesuffix(suffix), suffix
    return None


def make_plan(suite: gx.ExpectationSuite) -> Plan:
    """Return what one pass must find out for a suite.

    Raises:
        UserError: The suite has expectations that cannot be computed shard by shard; it names them.
    """
    return _plan_of(suite.expectations)


def _plan_of(expectations: list[Expectation]) -> Plan:
    plan = Plan()
    # Where a column's type decides what is asked, object columns ask for the most.
    columns = sorted({c for e in expectations for c in columns_of(e.configuration.kwargs)})
    widest = engine.engine_on(pd.DataFrame({c: pd.Series(["x"], dtype=object) for c in columns}))
    for place, expectation in enumerate(expectations):
        wanted = expectation.get_validation_dependencies(
            execution_engine=widest, runtime_configuration={"result_format": RESULT_FORMAT}
        )
        for metric in wanted.metric_configurations.values():
            if not _add(plan, exact(metric, expectation)):
                kind = expectation.configuration.type
                raise UserError(f"data.suite: expectations[{place}] {kind}: needs {metric.metric_name}, not supported")
    return plan


def uncounted(suite: gx.ExpectationSuite, schema: pa.Schema) -> list[str]:
    """Return a line for each expectation that counts values of a column which holds lists or objects.

    Args:
        suite: The suite.
        schema: The schema of all the data.
    """
    lines = []
    for place, expectation in enumerate(suite.expectations):
        nested = [
            name
            for name in columns_of(expectation.configuration.kwargs)
            if name in schema.names and pa.types.is_nested(schema.field(name).type)
        ]
        if nested and _plan_of([expectation]).value_counts:
            what = f"column {nested[0]!r} holds {schema.field(nested[0]).type}"
            lines.append(
                f"data.suite: expectations[{place}] {expectation.configuration.type}: {what}; values are counted where "
                "they are numbers, texts, truth values or times"
            )
    return lines


def _add(plan: Plan, metric: MetricConfiguration) -> bool:
    row_wise = base_of(metric)
    need = need_of(metric, row_wise[0] if row_wise else None)
    for counts in (table_need(need, "counts"), rows_need(need)):
        plan.counts[counts.key] = counts
    name = need.metric
    if row_wise and name in PRESENCE and row_wise[1] == ".unexpected_count":
        return True  # `counts` has it
    if row_wise and name in ACROSS_ROWS:
        value_counts = table_need(need, "value_counts")
        plan.value_counts[value_counts.key] = value_counts
        plan.unique[value_counts.key] = need
    elif row_wise and name in ORDERED:
        plan.ordered[need.key] = need
    elif row_wise and name in RELATIVE:
        by_quartiles = name == "column_values.not_outliers" and need.arguments.get("method", "iqr") == "iqr"
        first = table_need(need, "value_counts" if by_quartiles else "numbers")
        (plan.value_counts if by_quartiles else plan.numbers)[first.key] = first
        plan.relative[need.key] = need
    elif row_wise:
        plan.conditions[need.key] = need
    elif name in NUMBERS:
        numbers = table_need(need, "numbers")
        plan.numbers[numbers.key] = numbers
    elif name in BY_VALUE_COUNTS:
        value_counts = table_need(need, "value_counts")
        plan.value_counts[value_counts.key] = value_counts
    else:
        return name in TABLE | NULLS
    return True


def _jsonable(value: Any) -> Any:
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if hasattr(value, "dict"):
        return value.dict()
    return str(value)
