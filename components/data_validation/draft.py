"""A first suite for data that has none: what holds of all of it today, for a person to edit."""

import math
from typing import Any

from modelmill.components.data_validation.profile import Column, Profile

# Most distinct values of a column that is drafted as a set of categories, and how often each must occur on average.
MOST_CATEGORIES = 20
_TIMES_SEEN = 10
# Largest share of nulls in a column that is drafted with an expectation about nulls.
_MOST_NULLS = 0.5
ROWS: dict[str, Any] = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}


def candidates(profile: Profile) -> list[dict[str, Any]]:
    """Return expectations worth trying; the caller drops those that the data does not keep."""
    columns = list(profile.columns)
    drafted = [ROWS, _expect("expect_table_columns_to_match_set", column_set=columns, exact_match=True)]
    for name, column in profile.columns.items():
        drafted += _presence(name, profile)
        drafted += _range(name, column)
        if column.kind in ("number", "text") and column.valid == profile.rows > 1 and not _categories(column):
            drafted.append(_expect("expect_column_values_to_be_unique", column=name))
    return drafted


def _presence(name: str, profile: Profile) -> list[dict[str, Any]]:
    share = profile.nulls(name) / profile.rows
    if share > _MOST_NULLS:
        return []
    if not share:
        return [_expect("expect_column_values_to_not_be_null", column=name)]
    return [_expect("expect_column_values_to_not_be_null", column=name, mostly=math.floor((1 - share) * 100) / 100)]


def _range(name: str, column: Column) -> list[dict[str, Any]]:
    if values := _categories(column):
        return [_expect("expect_column_values_to_be_in_set", column=name, value_set=values)]
    bounds = {"column": name, "min_value": column.low, "max_value": column.high}
    if column.low is None and column.high is None:
        return []
    if column.kind in ("number", "time"):
        return [_expect("expect_column_values_to_be_between", **bounds)]
    if column.kind == "text":
        return [_expect("expect_column_value_lengths_to_be_between", **bounds)]
    return []


def _categories(column: Column) -> list[Any]:
    counts = column.values.counts
    if column.kind == "category" and counts and len(counts) == 1:
        return ["true" in counts]
    if column.kind != "text" or not counts or len(counts) > MOST_CATEGORIES:
        return []
    return sorted(counts) if column.valid >= _TIMES_SEEN * len(counts) else []


def _expect(type_: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": type_, "kwargs": kwargs}
