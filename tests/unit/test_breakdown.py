"""Metrics before and after, slice by slice."""

from typing import Any

import numpy as np
import pytest

from modelmill.champion.comparison.bootstrap import paired
from modelmill.measures import breakdown
from modelmill.recipe.measure import Measure

BYTES = Measure(per="bytes", set="pairs", scale=2.0)


def rows(losses: list[float], kind: str = "pairs", **columns: Any) -> list[dict[str, Any]]:
    return [
        {"example": str(n), "set": kind, "slices": ["odd" if n % 2 else "even"], "loss": loss, "bytes": 1.0 + n % 3}
        | columns
        for n, loss in enumerate(losses)
    ]


def test_all_and_each_slice_have_their_ratio_of_sums_and_the_bootstraps_interval() -> None:
    before = rows([3.0 + n % 5 for n in range(24)])
    after = rows([2.0 + n % 4 for n in range(24)])
    every, even, odd = breakdown.of_metric("bits", BYTES, before, after, seed=3)
    assert [part["slice"] for part in (every, even, odd)] == ["all", "even", "odd"]
    mine, its, size = (
        np.array([row[column] for row in table[::2]])
        for table, column in ((after, "loss"), (before, "loss"), (after, "bytes"))
    )
    assert even["after"] == pytest.approx(2 * mine.sum() / size.sum())
    assert even["before"] == pytest.approx(2 * its.sum() / size.sum())
    interval = paired(2 * (its - mine), size, resamples=breakdown.RESAMPLES, seed=3)
    assert even["better_by"] == [interval.low, interval.high] and even["examples"] == 12


def test_a_slice_of_all_examples_tells_nothing() -> None:
    table = rows([2.0] * 4)
    for row in table:
        row["slices"] = ["length=short", *row["slices"]]
    assert [part["slice"] for part in breakdown.of_metric("bits", BYTES, [], table)] == ["all", "even", "odd"]


def test_parts_of_an_example_are_drawn_together() -> None:
    """A table in which each example's loss is split over two turns says what the whole examples say."""
    before, after = rows([float(n % 5) for n in range(20)]), rows([float(n % 3) for n in range(20)])
    half = {column: 0.5 for column in ("loss", "bytes")}
    halves = [
        [
            row | {name: row[name] * half[name] for name in half} | {"example": f"{row['example']}/{n}", "set": "turns"}
            for row in table
            for n in (0, 1)
        ]
        for table in (before, after)
    ]
    _, *whole = breakdown.of_metric("bits", BYTES, before, after)
    parts = breakdown.of_metric("bits", BYTES._replace(set="turns"), *halves)
    assert parts == whole


def test_few_examples_have_no_interval_and_one_model_no_difference() -> None:
    before, after = rows([3.0] * 9), rows([2.0, 1.0] * 4 + [1.0])
    parts = breakdown.of_metric("bits", BYTES, before, after)
    assert parts[0]["before"] is not None and all(part["better_by"] is None for part in parts)
    alone = breakdown.of_metric("bits", BYTES, [], rows([2.0] * 30))
    assert alone[0]["after"] > 0 and alone[0]["before"] is None and alone[0]["better_by"] is None


def test_better_is_greater_where_that_is_better() -> None:
    right = Measure("loss", "bytes", higher_is_better=True, set="pairs")
    before, after = rows([float(n % 2) for n in range(40)]), rows([1.0 + n % 2 for n in range(40)])
    for measure, sign in ((right, 1), (BYTES, -1)):
        part = breakdown.whole("metric", measure, before, after)
        assert part is not None and all(sign * end > 0 for end in part["better_by"])
