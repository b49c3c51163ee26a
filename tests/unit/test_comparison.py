"""The paired bootstrap, and the decision that rests on it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap

from modelmill.champion.comparison.bootstrap import paired
from modelmill.champion.comparison.decision import decide
from modelmill.champion.comparison.rows import ExampleValues, unique_ids
from modelmill.champion.held_out import what_differs
from modelmill.recipe.measure import ACCURACY, LOSS
from modelmill.recipe.sections import Comparison

SETTINGS = Comparison().model_dump() | {"metric": "loss", "measure": LOSS._asdict(), "seed": 0, "resamples": 2000}


def measured(
    values: np.ndarray, slices: list[list[str]] | None = None, weights: np.ndarray | None = None
) -> ExampleValues:
    ids = np.array([f"{n:06d}" for n in range(len(values))], dtype=object)
    return ExampleValues(
        ids, values, np.ones(len(values)) if weights is None else weights, slices or [[]] * len(values)
    )


def decided(challenger: ExampleValues, champion: ExampleValues, **changes: Any) -> dict[str, Any]:
    return decide(challenger, champion, SETTINGS | changes)


@pytest.mark.parametrize("count", [30, 500])
@pytest.mark.parametrize("weighted", [False, True])
def test_an_interval_is_that_of_scipy(count: int, weighted: bool) -> None:
    random = np.random.default_rng(count)
    weights = random.integers(1, 40, count).astype(float) if weighted else np.ones(count)
    values = random.gamma(1.0, 1.0, count) * weights**0.7
    found = paired(values, weights, resamples=20_000)
    theirs = bootstrap(
        (values, weights),
        lambda v, w, axis: v.sum(axis=axis) / w.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=20_000,
        batch=200,
        rng=np.random.default_rng(1),
    ).confidence_interval
    width = theirs.high - theirs.low
    assert found.low == pytest.approx(theirs.low, abs=0.04 * width)
    assert found.high == pytest.approx(theirs.high, abs=0.04 * width)
    assert found.estimate == pytest.approx(values.sum() / weights.sum())


def test_grouping_loses_no_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where a group holds examples that differ much."""
    monkeypatch.setattr("modelmill.champion.comparison.bootstrap.GROUPS", 3)
    values = np.random.default_rng(0).normal(size=20_000)
    found = paired(values, np.ones(len(values)))
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert found.low == pytest.approx(values.mean() - half, abs=0.05 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.05 * half)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6).filter(lambda value: not 0 < abs(value) < 1e-290), min_size=1, max_size=60),
    st.floats(0.6, 0.99),
    st.integers(-9, 9),
    st.integers(0, 9),
)
def test_an_interval_holds_its_estimate_and_scales(
    values: list[float], confidence: float, power: int, seed: int
) -> None:
    differences, ones = np.array(values), np.ones(len(values))
    found = paired(differences, ones, confidence, 500, seed)
    assert min(values) - 1e-6 <= found.low <= found.high <= max(values) + 1e-6
    factor = 2.0**power  # which rounds nothing, where nothing comes near the smallest numbers that there are
    scaled = paired(differences * factor, ones, confidence, 500, seed)
    assert scaled.low == pytest.approx(found.low * factor, rel=1e-9, abs=1e-300)


def test_an_interval_is_the_same_each_time_and_refuses_nothing() -> None:
    values = np.random.default_rng(0).normal(size=100)
    assert paired(values, np.ones(100)) == paired(values, np.ones(100))
    with pytest.raises(ValueError):
        paired(np.array([]), np.array([]))


def test_better_not_worse_and_worse() -> None:
    random = np.random.default_rng(0)
    champion = random.gamma(2, 1, 4000)
    noise = random.normal(0, 0.05, 4000)
    for shift, verdict, passed in [(-0.1, "better", True), (0.0, "not worse", True), (0.2, "worse", False)]:
        found = decided(measured(champion + noise + shift), measured(champion))
        assert (found["verdict"], found["passed"]) == (verdict, passed)
        assert found["numbers"]["better_by"] == pytest.approx(-shift, abs=0.01)
    assert not decided(measured(champion + noise), measured(champion), rule="superior")["passed"]
    assert decided(measured(champion + noise - 0.1), measured(champion), rule="superior")["passed"]


def test_higher_is_better_where_the_metric_says_so() -> None:
    champion = np.repeat([1.0, 0.0], [700, 300])
    challenger = np.repeat([1.0, 0.0], [800, 200])
    assert decided(measured(challenger), measured(champion), measure=ACCURACY._asdict())["verdict"] == "better"
    assert decided(measured(champion), measured(challenger), measure=ACCURACY._asdict())["verdict"] == "worse"
    assert decided(measured(champion), measured(challenger))["verdict"] == "better"


def test_too_little_evidence_is_said_and_the_recipe_may_let_thresholds_decide() -> None:
    few = measured(np.linspace(0, 1, 49))
    found = decided(few, few)
    assert (found["verdict"], found["passed"]) == ("not enough evidence", False)
    assert "49" in found["reason"] and "50" in found["reason"]
    assert decided(few, few, too_few="thresholds")["passed"]


def test_only_examples_that_both_have_are_compared() -> None:
    random = np.random.default_rng(0)
    champion = measured(random.gamma(2, 1, 200))
    ids = np.array([f"{n:06d}" for n in range(100, 300)], dtype=object)
    values = np.concatenate([champion.values[100:] - 0.5, np.full(100, 1e9)])
    found = decided(ExampleValues(ids, values, np.ones(200), [[]] * 200), champion)
    assert found["numbers"]["examples"] == 100
    assert found["numbers"]["better_by"] == pytest.approx(0.5)


def test_a_slice_that_got_worse_stops_a_model_that_is_better_on_the_whole() -> None:
    random = np.random.default_rng(0)
    champion = random.gamma(2, 1, 3000)
    challenger = champion + random.normal(0, 0.1, 3000) - 0.2
    challenger[:100] += 1.0
    slices = [["small"]] * 100 + [["large"]] * 2900
    found = decided(measured(challenger, slices), measured(champion, slices))
    assert (found["verdict"], found["passed"]) == ("worse in a slice", False)
    assert {one["slice"]: one["lost"] for one in found["slices"]} == {"large": False, "small": True}
    assert "In the slice small it is worse" in found["reason"]
    tiny = [["small"]] * 49 + [["large"]] * 2951
    assert decided(measured(challenger, tiny), measured(champion, tiny), minimum=60)["slices"][0]["slice"] == "large"


def test_slices_are_corrected_for_their_number() -> None:
    """Forty slices of equal models: without the correction one would be lost most of the time."""
    random = np.random.default_rng(0)
    lost = 0
    for _ in range(10):
        champion = random.gamma(2, 1, 2400)
        slices = [[f"slice {n % 40}"] for n in range(2400)]
        challenger = champion + random.normal(0, 1, 2400)
        found = decided(measured(challenger, slices), measured(champion, slices), slice_margin=0.0, resamples=400)
        lost += any(one["lost"] for one in found["slices"])
    assert lost <= 2


def test_what_stands_in_the_way_is_named() -> None:
    mine = {"preprocessing.test": 0.1, "classes": ["a", "b"]}
    its = {"preprocessing.test": 0.05, "classes": ["a", "b", "c"]}
    text = what_differs(mine, its)
    assert "preprocessing.test was 0.05 and is 0.1" in text and "['a', 'b', 'c']" in text
    assert what_differs(mine, mine) == ""


def test_equal_ids_are_told_apart() -> None:
    assert unique_ids(["a", "b", "a", "a"]) == ["a", "b", "a#2", "a#3"]
