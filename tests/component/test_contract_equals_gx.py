"""The compiled contract against Great Expectations on pandas over the concatenated data: same verdict, same values."""

import datetime as dt
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelmill.components.data_validation import contract
from modelmill.components.data_validation.gx_judge import _plain
from modelmill.components.data_validation.suite import UNSUPPORTED, parse, supported
from modelmill.core.errors import UserError
from modelmill.data import shard, shards
from tests import gx_on_pandas

Suite = list[dict[str, Any]]


def expect(kind: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": f"expect_{kind}", "kwargs": kwargs}


def column_expectations(c: str) -> Suite:
    """Every supported expectation on one column, some passing and some failing."""
    pandas = {"row_condition": "n > 2", "condition_parser": "pandas"}
    return [
        expect("column_to_exist", column=c),
        expect("column_values_to_not_be_null", column=c),
        expect("column_values_to_not_be_null", column=c, mostly=0.5),
        expect("column_values_to_be_null", column=c),
        expect("column_values_to_be_unique", column=c),
        expect("column_values_to_be_unique", column=c, mostly=0.3, **pandas),
        expect("column_values_to_be_between", column=c, min_value=2, max_value=5),
        expect("column_values_to_be_between", column=c, min_value=2, strict_min=True, mostly=0.5),
        expect("column_values_to_be_between", column=c, max_value=2.5, strict_max=True, **pandas),
        expect("column_values_to_be_in_set", column=c, value_set=[1, 2, "a", "bb", True, 2.5]),
        expect("column_values_to_be_in_set", column=c, value_set=[1, 2, 3]),
        expect("column_values_to_be_in_set", column=c, value_set=["a", None], mostly=0.4),
        expect("column_values_to_not_be_in_set", column=c, value_set=["a", None]),
        expect("column_values_to_not_be_in_set", column=c, value_set=[2.5, 1.0]),
        expect("column_values_to_match_regex", column=c, regex="^[a-z0-9]+$"),
        expect("column_values_to_not_match_regex", column=c, regex=r"\d"),
        expect("column_values_to_match_regex_list", column=c, regex_list=["a", "b"], match_on="any"),
        expect("column_values_to_match_regex_list", column=c, regex_list=["a", "(?=b)"], match_on="all"),
        expect("column_values_to_not_match_regex_list", column=c, regex_list=["a", "^c"]),
        expect("column_value_lengths_to_be_between", column=c, min_value=1, max_value=2),
        expect("column_value_lengths_to_equal", column=c, value=2),
        expect("column_values_to_be_of_type", column=c, type_="int64"),
        expect("column_values_to_be_of_type", column=c, type_="str"),
        expect("column_values_to_be_of_type", column=c, type_="bool"),
        expect("column_values_to_be_in_type_list", column=c, type_list=["date", "float64", "bool"]),
        expect("column_type_to_be", column=c, type_="int64"),
        expect("column_values_to_be_dateutil_parseable", column=c),
        expect("column_values_to_be_json_parseable", column=c),
        expect("column_values_to_match_strftime_format", column=c, strftime_format="%Y"),
        expect("column_values_to_match_json_schema", column=c, json_schema={"type": "string"}),
        expect("column_min_to_be_between", column=c, min_value=1),
        expect("column_max_to_be_between", column=c, max_value=1),
        expect("column_max_to_be_between", column=c, max_value=1, **pandas),
        expect("column_unique_value_count_to_be_between", column=c, min_value=2),
        expect("column_proportion_of_unique_values_to_be_between", column=c, min_value=0.5),
        expect("column_proportion_of_non_null_values_to_be_between", column=c, min_value=0.5),
        expect("column_distinct_values_to_be_in_set", column=c, value_set=[1, 2, "a"]),
        expect("column_distinct_values_to_contain_set", column=c, value_set=[1, 99]),
        expect("column_distinct_values_to_equal_set", column=c, value_set=["a", "bb", "ccc", "é1"]),
        expect("column_most_common_value_to_be_in_set", column=c, value_set=[1, "a"]),
    ]


def number_expectations(c: str) -> Suite:
    ranges = {"quantiles": [0.0, 0.25, 0.5, 0.9, 1], "value_ranges": [[0, 1], [0, 2], [1, 3], [4, 9], [None, 9]]}
    some = {"row_condition": "n < 4", "condition_parser": "pandas"}
    return [
        expect("column_mean_to_be_between", column=c, min_value=1, max_value=100),
        expect("column_sum_to_be_between", column=c, min_value=1),
        expect("column_stdev_to_be_between", column=c, min_value=0, max_value=1),
        expect("column_median_to_be_between", column=c, min_value=0),
        expect("column_median_to_be_between", column=c, min_value=3, **some),
        expect("column_quantile_values_to_be_between", column=c, quantile_ranges=ranges),
        expect("column_quantile_values_to_be_between", column=c, quantile_ranges=ranges, allow_relative_error="linear"),
        expect("column_value_z_scores_to_be_less_than", column=c, threshold=1, double_sided=True),
        expect("column_value_z_scores_to_be_less_than", column=c, threshold=0.5, double_sided=False, mostly=0.6),
        expect("column_values_to_not_be_outliers", column=c),
        expect("column_values_to_not_be_outliers", column=c, method="std", multiplier=1),
        expect(
            "column_kl_divergence_to_be_less_than",
            column=c,
            partition_object={"bins": [0, 2, 4, 6], "weights": [0.5, 0.3, 0.2]},
            threshold=0.1,
        ),
    ]


def ordered_expectations(c: str) -> Suite:
    return [
        expect("column_values_to_be_increasing", column=c),
        expect("column_values_to_be_increasing", column=c, strictly=True, mostly=0.5),
        expect("column_values_to_be_decreasing", column=c),
        expect("column_values_to_be_decreasing", column=c, row_condition="n < 4", condition_parser="pandas"),
    ]


def several_column_expectations(a: str, b: str) -> Suite:
    suite = [
        expect("column_pair_values_to_be_in_set", column_A=a, column_B=b, value_pairs_set=[[1, 1], [2, 2]]),
        expect("column_pair_values_a_to_be_greater_than_b", column_A=a, column_B=b, or_equal=True),
    ]
    for ignored in ("both_values_are_missing", "either_value_is_missing", "neither"):
        suite.append(expect("column_pair_values_to_be_equal", column_A=a, column_B=b, ignore_row_if=ignored))
        suite.append(expect("column_pair_values_a_to_determine_b", column_A=a, column_B=b, ignore_row_if=ignored))
        suite.append(expect("column_pair_values_a_to_determine_b", column_A=b, column_B=a, ignore_row_if=ignored))
    for ignored in ("all_values_are_missing", "any_value_is_missing", "never"):
        for kind in (
            "compound_columns_to_be_unique",
            "select_column_values_to_be_unique_within_record",
            "multicolumn_values_to_be_equal",
        ):
            suite.append(expect(kind, column_list=[*dict.fromkeys((a, b, "n"))], ignore_row_if=ignored))
        suite.append(expect("multicolumn_sum_to_equal", column_list=[a, b], sum_total=3, ignore_row_if=ignored))
    return suite


TABLE_EXPECTATIONS = [
    expect("table_row_count_to_be_between", min_value=3),
    expect("table_row_count_to_equal", value=3),
    expect("table_column_count_to_equal", value=7),
    expect("table_column_count_to_be_between", min_value=8),
    expect("table_columns_to_match_set", column_set=["i", "f"]),
    expect("table_columns_to_match_ordered_list", column_list=list("ifsdtbn")),
    expect("column_to_exist", column="missing"),
    expect(
        "column_kl_divergence_to_be_less_than",
        column="s",
        partition_object={"values": ["a", "bb"], "weights": [0.5, 0.5]},
        threshold=0.1,
    ),
    expect("column_values_to_be_between", column="s", min_value=1),
]
# Rows of a shard that are scanned at a time.
PIECES = (1, 3, 1000)
DAY = dt.date(2024, 1, 1)
FIRST = pa.table(
    {
        "i": pa.array([1, 2, 3, None, 5, 7], pa.int64()),
        "f": [1.5, math.nan, None, 2.5, -1.0, 9.0],
        "s": ["a", "bb", None, "ccc", "é1", "a"],
        "d": [DAY, None, dt.date(2024, 1, 3), dt.date(2024, 1, 2), dt.date(2024, 2, 1), dt.date(2024, 2, 1)],
        "t": pa.array([dt.datetime(2024, 1, day + 1) for day in range(6)], pa.timestamp("us")),
        "b": [True, False, None, True, True, False],
        "n": [1, 2, 3, 4, 5, 6],
    }
)
SHARDS = [FIRST, FIRST.slice(0, 0), FIRST.slice(2, 1), FIRST.take([5, 4, 3, 2, 1, 0, 0])]


def differences(folder: Path, tables: list[pa.Table], suite: Suite, pieces: Sequence[int] = PIECES) -> list[str]:
    """Where the compiled contract, scanning pieces of some sizes, and Great Expectations on pandas disagree."""
    for number, table in enumerate(tables):
        pq.write_table(table, folder / f"{number}.parquet")
    document = {"name": "suite", "expectations": suite}
    theirs = gx_on_pandas.validate(document, pa.concat_tables(tables, promote_options="permissive"))
    different = []
    for rows in pieces:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(shard, "CHUNK_ROWS", rows)
            judged = contract.judge(str(folder), shards.find(str(folder), "auto"), document, lambda *_: None)
        different += [
            f"{rows} rows: {one['type']} {one['kwargs']}: ours {a['success']} {a['result']} {a['exception_info']}, "
            f"theirs {b}"
            for one, a, b in zip(suite, judged.result["results"], theirs, strict=True)
            if not agree(a, b)
        ]
    return different


def agree(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    if ours["exception_info"]["raised_exception"] or gx_on_pandas.raised(theirs):
        return ours["exception_info"]["raised_exception"] == gx_on_pandas.raised(theirs)
    expected = _plain(theirs["result"], 300)
    expected.pop("unexpected_index_query", None)
    found = dict(ours["result"])
    if any(column in ours["expectation_config"]["kwargs"] for column in ("column_A", "column_list")):
        # Counted as tuples, which pandas' missing integers make incomparable.
        found.pop("partial_unexpected_counts", None)
        expected.pop("partial_unexpected_counts", None)
    return bool(ours["success"] == theirs["success"]) and equal(found, expected)


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, float) or isinstance(b, float):
        return isinstance(a, int | float) and isinstance(b, int | float) and math.isclose(a, b, rel_tol=1e-9)
    return bool(a == b)


@pytest.mark.parametrize("column", list("ifsdtbn"))
def test_an_expectation_on_a_column_is_judged_as_on_pandas(column: str, tmp_path: Path) -> None:
    suite = column_expectations(column)
    if column in "ifbn":
        suite += number_expectations(column)
    if column in "ifdtn":
        suite += ordered_expectations(column)
    assert differences(tmp_path, SHARDS, suite) == []


@pytest.mark.parametrize("pair", ["in", "if", "sd", "sn", "fn", "tn"])
def test_an_expectation_on_several_columns_is_judged_as_on_pandas(pair: str, tmp_path: Path) -> None:
    assert differences(tmp_path, SHARDS, several_column_expectations(*pair)) == []


def test_an_expectation_on_the_table_is_judged_as_on_pandas(tmp_path: Path) -> None:
    assert differences(tmp_path, SHARDS, TABLE_EXPECTATIONS) == []


@pytest.mark.parametrize("column", list("ifsdtbn"))
def test_a_single_expectation_asks_for_all_that_it_needs(column: str, tmp_path: Path) -> None:
    """Others in the suite may ask for the same and hide what is missing."""
    table = FIRST.slice(0, 1)
    pq.write_table(table, tmp_path / "0.parquet")
    suite = column_expectations(column) + (number_expectations(column) if column in "ifn" else [])
    for one in suite:
        document = {"name": "suite", "expectations": [one]}
        judged = contract.judge(str(tmp_path), shards.find(str(tmp_path), "auto"), document, lambda *_: None)
        info = judged.result["results"][0]["exception_info"]
        missing = (info["exception_message"] or "").strip("'")
        assert not (len(missing) == 16 and " " not in missing) and "Unsupported cast" not in missing, (one, missing)


def test_every_supported_expectation_is_compared() -> None:
    compared = column_expectations("i") + number_expectations("i") + ordered_expectations("i")
    compared += several_column_expectations("i", "n") + TABLE_EXPECTATIONS
    untried = set(supported()) - {one["type"] for one in compared}
    # pandas has no LIKE: Great Expectations raises for these, and so do we.
    assert untried == {name for name in supported() if "like_pattern" in name}


@pytest.mark.parametrize("kind", sorted(UNSUPPORTED))
def test_an_expectation_that_needs_a_database_is_refused_with_what_is_supported(kind: str) -> None:
    with pytest.raises(UserError, match=rf"expectations\[0\] {kind}: needs a database .* supported: expect_column_"):
        parse({"expectations": [{"type": kind, "kwargs": {}}]})


numbers = st.one_of(st.none(), st.integers(-5, 5), st.integers(-(2**52), 2**52))
floats = st.one_of(st.none(), st.just(math.nan), st.floats(-1e6, 1e6), st.sampled_from([0.0, -0.0, 1.0, 2.5]))
words = st.one_of(
    st.none(), st.sampled_from(["", "a", "bb", "A", "1", "é", "\U0001d4b3", "a\n", " "]), st.text(max_size=4)
)
dates = st.one_of(st.none(), st.dates(dt.date(2000, 1, 1), dt.date(2030, 1, 1)))


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    rows = draw(st.integers(0, 6))

    def column(values: st.SearchStrategy[Any], type_: pa.DataType) -> pa.Array:
        return pa.array(draw(st.lists(values, min_size=rows, max_size=rows)), type_)

    return pa.table(
        {
            "i": column(numbers, pa.int64()),
            "f": column(floats, pa.float64()),
            "s": column(words, pa.string()),
            "d": column(dates, pa.date32()),
            "n": column(st.integers(0, 6), pa.int64()),
        }
    )


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shards_=st.lists(tables(), min_size=1, max_size=3).filter(lambda ts: any(t.num_rows for t in ts)), data=st.data()
)
def test_no_data_is_judged_otherwise_than_on_pandas(
    shards_: list[pa.Table], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    suite = [one for c in "ifsd" for one in column_expectations(c)]
    suite += [one for c in "if" for one in number_expectations(c) + ordered_expectations(c)]
    suite += several_column_expectations("i", "f")
    chosen = data.draw(st.lists(st.sampled_from(suite), min_size=8, max_size=25))
    assert differences(tmp_path_factory.mktemp("data"), shards_, chosen, pieces=[3]) == []
