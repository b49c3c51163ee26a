"""What a suite needs to know of the data, from Great Expectations' own list of the metrics that it will ask for."""

import json
from dataclasses import dataclass, field
from typing import Any

import great_expectations as gx
import pandas as pd
from great_expectations.validator.metric_configuration import MetricConfiguration

from modelmill.components.data_validation import engine
from modelmill.components.data_validation.suite import columns_of
from modelmill.core import digest
from modelmill.core.errors import UserError

SAMPLES = 20
RESULT_FORMAT = {"result_format": "SUMMARY", "partial_unexpected_count": SAMPLES}
COUNTED = (".unexpected_count", ".unexpected_values", ".unexpected_index_list", ".filtered_row_count")
QUERY = ".unexpected_index_query"  # a line of pandas for a person who has a frame; there is none here

# Of the whole table or of its columns' types: known from the schemas and the number of rows.
TABLE = {"table.row_count", "table.columns", "table.column_count", "table.column_types"}
NUMBERS = {"column.min", "column.max", "column.sum", "column.mean", "column.standard_deviation"}
NULLS = {"column_values.nonnull.count", "column.non_null_proportion"}
TALLIED = {
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
UNIQUE = {"column_values.unique", "compound_columns.unique"}
ORDERED = {"column_values.increasing", "column_values.decreasing"}
# Conditions that hold a value against statistics of the whole column.
RELATIVE = {"column_values.z_score.under_threshold", "column_values.not_outliers"}


@dataclass(frozen=True)
class Need:
    """One thing to be known of the data: a metric without its suffix, where it looks and what it takes.

    key: names it in states, the same in every run. domain: column or columns, row condition and what is ignored.
    """

    metric: str
    domain_json: str
    arguments_json: str

    @property
    def key(self) -> str:
        return digest.of_json([self.metric, self.domain_json, self.arguments_json])[:16]

    @property
    def domain(self) -> dict[str, Any]:
        return dict(json.loads(self.domain_json))

    @property
    def arguments(self) -> dict[str, Any]:
        return dict(json.loads(self.arguments_json))

    @property
    def columns(self) -> list[str]:
        domain = self.domain
        return [domain[k] for k in ("column", "column_A", "column_B") if k in domain] + domain.get("column_list", [])

    def configuration(self) -> MetricConfiguration:
        return MetricConfiguration(self.metric, self.domain, self.arguments)


@dataclass
class Plan:
    """What one pass over the shards must find out.

    counts: rows and nulls of a column under a row condition. conditions: rows that a map metric rejects.
    ordered: the same where a row is held against the one before. numbers: extremes and moments of a column.
    tallies: how often each value, or combination of values, occurs; unique: those of which each may occur once, by
    the tally's key. relative: conditions that need the finished
    numbers or tally of their column, and so a second pass.
    """

    counts: dict[str, Need] = field(default_factory=dict)
    conditions: dict[str, Need] = field(default_factory=dict)
    ordered: dict[str, Need] = field(default_factory=dict)
    numbers: dict[str, Need] = field(default_factory=dict)
    tallies: dict[str, Need] = field(default_factory=dict)
    unique: dict[str, Need] = field(default_factory=dict)
    relative: dict[str, Need] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return digest.of_json([sorted(group) for group in vars(self).values()])


def need_of(metric: MetricConfiguration, name: str | None = None) -> Need:
    """The need behind a metric; batch, table and the format of samples do not matter to it."""
    domain = {k: v for k, v in metric.metric_domain_kwargs.items() if v is not None and k not in ("batch_id", "table")}
    arguments = {k: v for k, v in metric.metric_value_kwargs.items() if k != "result_format"}
    return Need(
        name or metric.metric_name,
        json.dumps(domain, sort_keys=True, default=_jsonable),
        json.dumps(arguments, sort_keys=True, default=_jsonable),
    )


def table_need(need: Need, name: str) -> Need:
    """Another need in the same domain, without arguments."""
    return Need(name, need.domain_json, "{}")


def rows_need(need: Need) -> Need:
    """The rows of the table that meet the need's row condition."""
    condition = {k: v for k, v in need.domain.items() if k in ("row_condition", "condition_parser")}
    return Need("counts", json.dumps(condition, sort_keys=True), "{}")


def base_of(metric: MetricConfiguration) -> tuple[str, str] | None:
    """A map metric's name and its suffix; None for a metric that is not of single rows."""
    for suffix in (*COUNTED, QUERY):
        if metric.metric_name.endswith(suffix):
            return metric.metric_name.removesuffix(suffix), suffix
    return None


def make_plan(suite: gx.ExpectationSuite) -> Plan:
    """
    Raises:
        UserError: naming the expectations that cannot be computed shard by shard.
    """
    plan = Plan()
    # Where a column's type decides what is asked, object columns ask for the most.
    columns = sorted({c for e in suite.expectations for c in columns_of(e.configuration.kwargs)})
    widest = engine.engine_on(pd.DataFrame({c: pd.Series(["x"], dtype=object) for c in columns}))
    for place, expectation in enumerate(suite.expectations):
        wanted = expectation.get_validation_dependencies(
            execution_engine=widest, runtime_configuration={"result_format": RESULT_FORMAT}
        )
        for metric in wanted.metric_configurations.values():
            if not _add(plan, metric):
                kind = expectation.configuration.type
                raise UserError(f"data.suite: expectations[{place}] {kind}: needs {metric.metric_name}, not supported")
    return plan


def _add(plan: Plan, metric: MetricConfiguration) -> bool:
    row_wise = base_of(metric)
    need = need_of(metric, row_wise[0] if row_wise else None)
    for counts in (table_need(need, "counts"), rows_need(need)):
        plan.counts[counts.key] = counts
    name = need.metric
    if row_wise and name in PRESENCE and row_wise[1] == ".unexpected_count":
        return True  # `counts` has it
    if row_wise and name in UNIQUE:
        tally = table_need(need, "tally")
        plan.tallies[tally.key] = tally
        plan.unique[tally.key] = need
    elif row_wise and name in ORDERED:
        plan.ordered[need.key] = need
    elif row_wise and name in RELATIVE:
        by_quartiles = name == "column_values.not_outliers" and need.arguments.get("method", "iqr") == "iqr"
        first = table_need(need, "tally" if by_quartiles else "numbers")
        (plan.tallies if by_quartiles else plan.numbers)[first.key] = first
        plan.relative[need.key] = need
    elif row_wise:
        plan.conditions[need.key] = need
    elif name in NUMBERS:
        numbers = table_need(need, "numbers")
        plan.numbers[numbers.key] = numbers
    elif name in TALLIED:
        tally = table_need(need, "tally")
        plan.tallies[tally.key] = tally
    else:
        return name in TABLE | NULLS
    return True


def _jsonable(value: Any) -> Any:
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if hasattr(value, "dict"):
        return value.dict()
    return str(value)
