"""Profiles: the same from any division of the data into shards, right against numpy and scipy, and kept as JSON."""

import datetime as dt
import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance  # type: ignore[import-untyped]

from modelmill.components.data_validation import contract
from modelmill.components.data_validation.draft import candidates
from modelmill.components.data_validation.drift import Drift, compare, stability_index, wasserstein
from modelmill.components.data_validation.profile import Profile, merged
from modelmill.components.data_validation.sketch import MOST_BINS, Histogram
from modelmill.data import shards
from modelmill.recipe.sections import DriftLimits

LIMITS = DriftLimits()
NUMBERS = st.lists(st.floats(allow_nan=False), max_size=200)


def histogram(numbers: Any) -> Histogram:
    counted = Histogram()
    counted.add(np.array(numbers, np.float64))
    return counted


def state(made: Histogram) -> str:
    return json.dumps(made.to_json())


def profile(**columns: Any) -> Profile:
    made = Profile()
    made.add(pa.table(columns))
    return made


def drift(then: Profile, now: Profile) -> Drift:
    return compare(then, now, LIMITS)


def measure(found: Drift, column: str, of: str) -> Any:
    return next(m for m in found.measures if (m.column, m.of) == (column, of))


@given(NUMBERS, NUMBERS, NUMBERS)
def test_a_histogram_is_the_same_in_any_order_and_division(a: list[float], b: list[float], c: list[float]) -> None:
    whole = histogram(a + b + c)
    left, right = histogram(a), histogram(c)
    left.merge(histogram(b))
    left.merge(histogram(c))
    right.merge(histogram(a))
    right.add(np.array(b))
    assert state(left) == state(right) == state(whole) == state(Histogram.parse(whole.to_json()))
    assert whole.count == len(a + b + c)


def test_a_histogram_of_many_numbers_keeps_its_size_and_its_division_still_does_not_matter() -> None:
    draw = np.random.default_rng(0)
    numbers = np.concatenate([draw.normal(0, 1, 40_000), draw.lognormal(0, 9, 40_000), -draw.uniform(0, 1e-300, 9)])
    whole = histogram(numbers)
    parts = Histogram()
    for part in np.array_split(draw.permutation(numbers), 13):
        parts.merge(histogram(part))
    assert state(parts) == state(whole)
    assert len(whole.keys) <= MOST_BINS < len(np.unique(numbers))


@given(NUMBERS)
def test_a_bins_number_is_near_those_that_it_counts(numbers: list[float]) -> None:
    counted, largest = histogram(numbers), np.finfo(np.float64).max
    assert np.repeat(counted.values(), counted.counts).tolist() == np.clip(sorted(numbers), -largest, largest).tolist()


TEXTS = st.lists(st.none() | st.text(st.characters(codec="utf-8"), max_size=30), max_size=30)


@given(TEXTS, TEXTS)
def test_texts_are_counted_by_character_byte_and_word_whatever_the_shards(
    a: list[str | None], b: list[str | None]
) -> None:
    def of(values: list[str | None]) -> Profile:
        return profile(t=pa.array(values, pa.string()))

    whole, parts = of(a + b), merged([json.loads(json.dumps(of(values).to_json())) for values in (a, b)])
    assert parts.to_json() == whole.to_json()
    column, texts = whole.columns["t"], [t for t in a + b if t is not None]
    assert whole.nulls("t") == len(a + b) - len(texts)
    assert (
        column.bytes.tolist() == np.bincount(np.frombuffer("".join(texts).encode(), np.uint8), minlength=256).tolist()
    )
    if texts:
        assert (column.low, column.high) == (min(map(len, texts)), max(map(len, texts)))


def test_every_kind_of_column_has_a_profile_that_json_can_say() -> None:
    day = dt.date(2024, 2, 29)
    made = profile(
        i=[1, None, 3],
        f=[0.5, math.inf, -1.0],
        d=[Decimal("1.50"), None, Decimal("2.25")],
        b=[True, False, None],
        s=["a", "b", "a"],
        day=[day, None, day],
        at=[dt.datetime(2024, 1, 1, 12), None, dt.datetime(2024, 1, 2)],
        time=[dt.time(1), None, dt.time(2)],
        took=[dt.timedelta(hours=1), None, dt.timedelta(hours=2)],
        raw=[b"x", None, b"y"],
        nested=[{"a": 1}, None, {"a": 2}],
        nothing=pa.nulls(3),
    )  # fmt: skip
    assert merged([json.loads(json.dumps(made.to_json()))]).to_json() == made.to_json()
    kinds = [column.kind for column in made.columns.values()]
    assert kinds == ["number"] * 3 + ["category", "text"] + ["time"] * 4 + ["other"] * 2 + [None]
    bounds = {name: (column.low, column.high) for name, column in made.columns.items()}
    assert bounds["i"] == (1, 3) and bounds["d"] == (1.5, 2.25) and bounds["took"] == (3600.0, 7200.0)
    assert bounds["at"] == ("2024-01-01T12:00:00", "2024-01-02T00:00:00") and bounds["day"][0] == "2024-02-29"
    assert made.columns["at"].numbers.values().tolist() == [1704110400.0, 1704153600.0]
    assert made.columns["b"].values.counts == {"true": 1, "false": 1}


@pytest.mark.parametrize("order", [1, -1])
def test_an_infinity_in_any_shard_leaves_no_bound(order: int) -> None:
    parts = [profile(f=[1.0, 2.0]), profile(f=[0.0, math.inf]), profile(f=[5.0]), profile(f=[None])]
    column = merged([one.to_json() for one in parts[::order]]).columns["f"]
    assert (column.low, column.high) == (0.0, None)
    drafted = [one["kwargs"] for one in candidates(Profile(7, {"f": column}))]
    assert {"column": "f", "min_value": 0.0, "max_value": None} in drafted


def test_a_column_that_a_shard_lacks_is_null_there() -> None:
    both = merged([profile(a=[1, 2]).to_json(), profile(a=[3], b=["x"]).to_json()])
    assert both.rows == 3 and both.nulls("a") == 0 and both.nulls("b") == 2


@settings(max_examples=30)
@given(st.floats(-2, 2), st.floats(0.5, 2), st.integers(0, 99))
def test_the_wasserstein_distance_is_scipys_in_deviations(shift: float, spread: float, seed: int) -> None:
    draw = np.random.default_rng(seed)
    then, now = draw.normal(5, 2, 3000), draw.normal(5 + shift, 2 * spread, 2000)
    exact = wasserstein_distance(then, now) / then.std()
    assert wasserstein(histogram(then), histogram(now)) == pytest.approx(exact, rel=0.02, abs=0.01)


def test_the_stability_index_is_that_of_the_textbook() -> None:
    p, q = np.array([0.2, 0.3, 0.5]), np.array([0.25, 0.25, 0.5])
    assert stability_index(p * 1e9, q * 1e9) == pytest.approx(((q - p) * np.log(q / p)).sum())
    assert math.isfinite(stability_index(np.array([10, 0]), np.array([0, 10])))


def test_half_a_deviation_is_drift_and_another_draw_is_not() -> None:
    draw = np.random.default_rng(3)
    then = profile(x=draw.normal(0, 1, 20_000))
    same, moved = drift(then, profile(x=draw.normal(0, 1, 5000))), drift(then, profile(x=draw.normal(0.6, 1, 5000)))
    assert not same.drifted and same.value < 0.02
    assert moved.drifted and measure(moved, "x", "values").wasserstein == pytest.approx(0.6, abs=0.05)
    assert moved.value == pytest.approx(0.35, abs=0.08)


def test_times_that_moved_by_days_are_told_apart() -> None:
    at = np.datetime64("2026-01-01", "s") + np.arange(3000).astype("timedelta64[s]") * 900
    assert not drift(profile(t=at), profile(t=at)).drifted
    assert drift(profile(t=at), profile(t=at + np.timedelta64(20, "D"))).drifted


@pytest.mark.parametrize(
    ("then", "now", "of"),
    [
        (["red", "blue"] * 1000, ["red"] * 1800 + ["blue"] * 200, "values"),
        (["red", "blue"] * 1000, ["red", "green"] * 1000, "values"),
        (["a few words here"] * 2000, ["a few words here and then some more of them"] * 2000, "length"),
        ([f"abc def {n}" for n in range(9000)], [f"ABC DEF {n}" for n in range(9000)], "characters"),
        ([f"wie geht es {n}" for n in range(9000)], [f"как дела то {n}" for n in range(9000)], "characters"),
        ([f"cat dog cow {n % 9}" for n in range(9000)], [f"god act owc {n % 9}" for n in range(9000)], "tokens"),
        ([True, False] * 1000, [True] * 2000, "values"),
        ([1, 2, 3] * 700, [1, 2, None] * 700, "nulls"),
        ([1, 2, 3] * 700, ["1", "2", "3"] * 700, "nulls"),
        ([1, 2, 3] * 700, [1, 2, 2] * 700, "values"),
    ],
)  # fmt: skip
def test_what_has_moved_is_named(then: list[Any], now: list[Any], of: str) -> None:
    found = drift(profile(c=then), profile(c=now))
    assert found.drifted and measure(found, "c", of).drifted
    assert not drift(profile(c=then), profile(c=then)).drifted


def test_a_column_that_is_gone_or_new_has_drifted() -> None:
    both, one = profile(a=range(600), b=range(600)), profile(a=range(600))
    assert {m.column for m in drift(both, one).measures if m.drifted} == {"b"}
    assert {m.column for m in drift(one, both).measures if m.drifted} == {"b"}


def test_too_few_values_are_not_compared_and_said_to_be_so() -> None:
    few = drift(profile(a=range(10), b=[None] * 9 + ["x"]), profile(a=range(100, 110), b=["y"] * 10))
    assert not few.drifted and few.measures == [] and few.skipped == ["a", "b"]
    # 257 buckets of words need more than the two bins of nulls.
    words = drift(profile(t=["a b c"] * 600), profile(t=["a b c"] * 600))
    assert {m.of for m in words.measures} == {"nulls", "values", "length", "characters"} and words.skipped == ["t"]


TABLES = st.lists(
    st.fixed_dictionaries(
        {
            "n": st.none() | st.integers(-(2**63), 2**63 - 1),
            "f": st.none() | st.floats(),
            "s": st.none() | st.sampled_from(["a", "b", "ü\n<b>"]),
            "t": st.text(st.characters(codec="utf-8"), max_size=8),
            "at": st.none() | st.datetimes(dt.datetime(1970, 1, 1), dt.datetime(2200, 1, 1)),
            "b": st.none() | st.booleans(),
        }
    ),
    min_size=1,
    max_size=30,
)
SCHEMA = pa.schema(
    {"n": pa.int64(), "f": pa.float64(), "s": pa.string(), "t": pa.string(), "at": pa.timestamp("us"), "b": pa.bool_()}
)


@settings(max_examples=15, deadline=None)
@given(TABLES)
def test_data_keeps_the_suite_that_was_drafted_from_it(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any]
) -> None:
    folder = tmp_path_factory.mktemp("data")
    for number, part in enumerate((rows[: len(rows) // 2], rows[len(rows) // 2 :])):
        pq.write_table(pa.Table.from_pylist(part, SCHEMA), folder / f"{number}.parquet")
    found = shards.find(str(folder), "auto")
    drafted = contract.draft(str(folder), found, "drafted", lambda *_: None)
    assert len(drafted.suite["expectations"]) >= 3
    assert contract.judge(str(folder), found, drafted.suite, lambda *_: None).success


def test_a_drafted_suite_says_what_a_person_would(tmp_path: Path) -> None:
    rows = [{"id": n, "kind": "ab"[n % 2], "note": None if n % 4 else "x" * n, "gone": None} for n in range(40)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    drafted = contract.draft(str(tmp_path), shards.find(str(tmp_path), "auto"), "mine", lambda *_: None)
    said = [(e["type"].removeprefix("expect_"), e["kwargs"]) for e in drafted.suite["expectations"]]
    assert drafted.suite["name"] == "mine"
    assert said == [
        ("table_row_count_to_be_between", {"min_value": 1}),
        ("table_columns_to_match_set", {"column_set": ["id", "kind", "note", "gone"], "exact_match": True}),
        ("column_values_to_not_be_null", {"column": "id"}),
        ("column_values_to_be_between", {"column": "id", "min_value": 0, "max_value": 39}),
        ("column_values_to_be_unique", {"column": "id"}),
        ("column_values_to_not_be_null", {"column": "kind"}),
        ("column_values_to_be_in_set", {"column": "kind", "value_set": ["a", "b"]}),
        ("column_value_lengths_to_be_between", {"column": "note", "min_value": 0, "max_value": 36}),
    ]
