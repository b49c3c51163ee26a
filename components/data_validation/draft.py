"""A first suite for data that has none: what holds of all of it today, for a person to edit."""

import math
from typing import Any

from modelmill.components.data_validation.conversations import PARSES, PROBLEM, ConversationRows
from modelmill.components.data_validation.profile import Column, Profile

# Most distinct values of a column that is drafted as a set of categories, and how often each must occur on average.
MOST_CATEGORIES = 20
_TIMES_SEEN = 10
# Largest share of nulls in a column that is drafted with an expectation about nulls.
_MOST_NULLS = 0.5
# Features of conversations that have expectations of their own.
_CATEGORIES = ("first_role", "last_role", "script")
_DRAFTED_TOGETHER = (PARSES, PROBLEM, "roles", "tool_calls_that_parse", "prompt_digest", *_CATEGORIES)
# Features whose expectations are drafted for most rows where not all keep them, and the least share of rows.
_FOR_MOST, _LEAST_SHARE = ("roles", "prompt_digest"), 0.5
# A column by this name says the split of a row: no prompt should be in two.
SPLIT = "split"
ROWS: dict[str, Any] = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}


def candidates(profile: Profile, conversations: ConversationRows | None = None) -> list[dict[str, Any]]:
    """Return expectations worth trying; the caller drops those that the data does not keep.

    Args:
        profile: The columns' distributions.
        conversations: How the rows hold conversations.
    """
    columns = list(profile.columns)
    drafted = [ROWS, _expect("expect_table_columns_to_match_set", column_set=columns, exact_match=True)]
    drafted += _of_conversations(profile) if conversations else []
    for name, column in profile.columns.items():
        if conversations and name in _DRAFTED_TOGETHER:
            continue
        drafted += _presence(name, profile)
        if conversations and name in conversations.nested:
            continue
        drafted += _range(name, column)
        is_feature = conversations is not None and name in conversations.added
        is_full = column.kind in ("number", "text") and column.valid == profile.rows > 1
        if is_full and not is_feature and not _categories(column):
            drafted.append(_expect("expect_column_values_to_be_unique", column=name))
    return drafted


def kept(candidates: list[dict[str, Any]], results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the candidates that the data keeps, those on the order of roles and on repeated prompts for most rows.

    Args:
        candidates: The expectations that were tried.
        results: Great Expectations' results, in the same order.
    """
    chosen = []
    for expectation, result in zip(candidates, results, strict=True):
        share = 1 - (result["result"].get("unexpected_percent") or 0) / 100
        if result["success"]:
            chosen.append(expectation)
        elif expectation["kwargs"].get("column") in _FOR_MOST and _LEAST_SHARE <= share < 1:
            chosen.append(_expect(expectation["type"], **expectation["kwargs"], mostly=math.floor(share * 100) / 100))
    return chosen


def _of_conversations(profile: Profile) -> list[dict[str, Any]]:
    """Return expectations on the features whose meaning is known, whatever their distribution."""
    drafted = [
        _mostly_true(profile),
        _expect("expect_column_values_to_match_regex", column="roles", regex=_order(profile)),
    ]
    for name in _CATEGORIES:
        values = sorted(profile.columns[name].values.counts or ())
        drafted += [_expect("expect_column_values_to_be_in_set", column=name, value_set=values)] if values else []
    calls = {"column_A": "tool_calls", "column_B": "tool_calls_that_parse"}
    drafted.append(_expect("expect_column_pair_values_to_be_equal", **calls))
    drafted.append(_expect("expect_column_values_to_be_unique", column="prompt_digest"))
    if SPLIT in profile.columns:
        split = {"column_A": "prompt_digest", "column_B": SPLIT}
        drafted.append(_expect("expect_column_pair_values_a_to_determine_b", **split))
    return drafted


def _mostly_true(profile: Profile) -> dict[str, Any]:
    counts = profile.columns[PARSES].values.counts
    share = counts["true"] / profile.rows if counts else 0
    mostly = {} if share == 1 else {"mostly": math.floor(share * 100) / 100}
    return _expect("expect_column_values_to_be_in_set", column=PARSES, value_set=[True], **mostly)


def _order(profile: Profile) -> str:
    """Return a regular expression for the order of roles: what dialogues have, no looser than the data needs.

    An optional system message, then rounds that begin with the user's turn and end with the assistant's, with calls of
    tools between these where there are any.
    """
    orders = profile.columns["roles"].values.counts
    with_system = {order.startswith("system ") for order in orders or ()}
    system = {frozenset({True}): "system ", frozenset({False}): ""}.get(frozenset(with_system), "(system )?")
    has_tools = orders is None or any(" tool" in order for order in orders)
    is_one_round = orders is not None and not any(order.count("user") > 1 for order in orders)
    answer = "( assistant( tool)+)* assistant" if has_tools else " assistant"
    return f"^{system}user{answer}" + ("$" if is_one_round else f"( user{answer})*$")


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
