"""A Great Expectations suite, checked before any data is read."""

import difflib
import re
from typing import Any

import great_expectations as gx
from great_expectations.compatibility.pydantic import ValidationError
from great_expectations.exceptions import GreatExpectationsError
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
from great_expectations.expectations.registry import (
    get_expectation_impl,
    list_registered_expectation_implementations,
)
from great_expectations.validator.metric_configuration import MetricConfiguration

from modelmill.components.data_validation import dependency, row_conditions
from modelmill.core.errors import UserError

_KEYS = {"type", "kwargs", "meta", "id", "severity", "notes", "description"}
_COLUMN_KWARGS = ("column", "column_A", "column_B", "column_list")
_ABOUT_PRESENCE = "expect_column_to_exist"  # it reports a missing column itself
# Expectations of ours, which Great Expectations knows once their module is imported.
OURS = (dependency.ExpectColumnPairValuesAToDetermineB,)
# Expectations that ask a database or another table, while the data is files.
UNSUPPORTED = {
    "expect_query_results_to_match_comparison",
    "expect_table_row_count_to_equal_other_table",
    "unexpected_rows_expectation",
}


def supported() -> list[str]:
    """Return the names of the expectations that data in shards can be judged by."""
    return [name for name in sorted(list_registered_expectation_implementations()) if name not in UNSUPPORTED]


def parse(suite: dict[str, Any]) -> gx.ExpectationSuite:
    """Return the suite, if every expectation is known, supported and has the arguments that it needs.

    Raises:
        UserError: An expectation is wrong; the message gives its place, and the nearest name for an unknown one.
    """
    entries = suite.get("expectations")
    if not isinstance(entries, list) or not entries:
        raise UserError("data.suite: the suite has no expectations; any data would pass")
    expectations = [_check(entry, f"data.suite: expectations[{i}]") for i, entry in enumerate(entries)]
    for place, expectation in enumerate(expectations):
        expectation.id = str(place)  # puts the results back into the suite's order
    name = suite.get("name")
    checked = gx.ExpectationSuite(name=name if isinstance(name, str) and name else "suite")
    checked.expectations = expectations
    return checked


def check_columns(suite: gx.ExpectationSuite, columns: list[str]) -> None:
    """Check that the data has the columns that the suite names.

    Names are compared exactly: Great Expectations ignores their case and would take the first that fits.

    Args:
        suite: The suite.
        columns: The columns of the data.

    Raises:
        UserError: A column is missing, also from a row condition, named twice, or one of several that differ only by
            case.
    """
    for place, expectation in enumerate(suite.expectations):
        kind, kwargs = expectation.configuration.type, expectation.configuration.kwargs
        if kind == _ABOUT_PRESENCE:
            continue
        where = f"data.suite: expectations[{place}] {kind}"
        named = columns_of(kwargs)
        for name in row_conditions.columns_of(kwargs.get("row_condition"), where):
            if name not in columns:
                raise UserError(f"{where}: row_condition: there is no column {name!r}{_nearest(name, columns)}")
        if twice := next((name for name in named if named.count(name) > 1), None):
            raise UserError(f"{where}: column {twice!r} is named twice")
        for name in named:
            if name not in columns:
                raise UserError(
                    f"{where}: suite names column {name!r} that is not there; columns are {', '.join(columns)}"
                )
            twins = [c for c in columns if c.casefold() == name.casefold()]
            if len(twins) > 1:
                raise UserError(f"{where}: columns {', '.join(twins)} differ only by case, rename all but one")


def columns_of(kwargs: dict[str, Any]) -> list[str]:
    """Return the columns that an expectation's arguments name."""
    values = [kwargs[key] for key in _COLUMN_KWARGS if kwargs.get(key)]
    return [name for value in values for name in (value if isinstance(value, list) else [value])]


def exact(metric: MetricConfiguration, expectation: Expectation) -> MetricConfiguration:
    """Return the metric with the expectation's integers, which Great Expectations makes floating-point numbers."""
    arguments = {
        key: integer if isinstance(integer := getattr(expectation, key, None), int) and type(value) is float else value
        for key, value in metric.metric_value_kwargs.items()
    }
    return MetricConfiguration(metric.metric_name, metric.metric_domain_kwargs, arguments)


def _check(entry: Any, where: str) -> Expectation:
    if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
        raise UserError(f'{where}: an expectation is an object with "type" and "kwargs"')
    where = f"{where} {entry['type']}"
    known = list_registered_expectation_implementations()
    if entry["type"] not in known:
        raise UserError(f"{where}: no such expectation{_nearest(entry['type'], known)}")
    if unknown := set(entry) - _KEYS:
        raise UserError(f"{where}: unknown key {min(unknown)!r}; known: {', '.join(sorted(_KEYS))}")
    if entry["type"] in UNSUPPORTED:
        raise UserError(
            f"{where}: needs a database or another table, the data is files; supported: {', '.join(supported())}"
        )
    kwargs = entry.get("kwargs", {})
    if not isinstance(kwargs, dict):
        raise UserError(f"{where}: kwargs is an object, this is {type(kwargs).__name__}")
    expectation = _build(entry, kwargs, where)
    _check_patterns(kwargs, where)
    row_conditions.columns_of(kwargs.get("row_condition"), where)
    return expectation


def _build(entry: dict[str, Any], kwargs: dict[str, Any], where: str) -> Expectation:
    try:
        expectation = ExpectationConfiguration(**(entry | {"kwargs": dict(kwargs)})).to_domain_obj()
        for name, value in kwargs.items():
            if isinstance(value, int) and isinstance(vars(expectation).get(name), float):
                vars(expectation)[name] = value  # a large integer is another number as floating point
        return expectation
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"] if part != "__root__")
        fields = [f for f in get_expectation_impl(entry["type"]).__fields__ if f not in Expectation.__fields__]
        near = _nearest(key, fields) if first["type"] == "value_error.extra" else ""
        raise UserError(f"{where}: kwargs.{key}: {first['msg']}{near}".replace("kwargs.:", "kwargs:")) from None
    except (GreatExpectationsError, TypeError, ValueError) as error:
        raise UserError(f"{where}: {error}") from None


def _check_patterns(kwargs: dict[str, Any], where: str) -> None:
    patterns = [kwargs["regex"]] if "regex" in kwargs else kwargs.get("regex_list", [])
    for pattern in patterns if isinstance(patterns, list) else []:
        try:
            re.compile(pattern)
        except (re.error, TypeError) as error:
            raise UserError(f"{where}: kwargs: {pattern!r} is not a regular expression ({error})") from None


def _nearest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
