"""Metrics before and after fine-tuning, over all examples and slice by slice, with intervals of the difference.

An evaluation hands on a list of them as its file `breakdown.json`.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from modelmill.champion.comparison.bootstrap import paired
from modelmill.recipe.measure import Measure

FILE = "breakdown.json"
# Examples below which an interval would say more than is known, and resamples of the others.
LEAST, RESAMPLES = 10, 2_000
# Parts of an example, such as turns of a conversation, are named `EXAMPLE/PART`. The set of turns has the same loss as
# the set of their conversations.
PART, PARTS = "/", "turns"
Row = dict[str, Any]


def of_metric(metric: str, measure: Measure, before: list[Row], after: list[Row], seed: int = 0) -> list[Row]:
    """Return a metric of all examples and of each slice that some are not of; parts of one example are drawn together.

    Args:
        metric: Name of the metric.
        measure: Which rows and columns it is made from.
        before: Rows of the model before fine-tuning; none if it was not measured.
        after: Rows of the fine-tuned model.
        seed: Seed of the intervals.

    Returns:
        For each slice `metric`, `slice`, `examples`, `before` or None, `after`, and `better_by`, the ends of the
        interval in which the fine-tuned model is better, or None.
    """
    was = {row["example"]: row for row in before if row["set"] == measure.set}
    mine = [row for row in after if row["set"] == measure.set]
    members: dict[str, list[Row]] = {}
    for row in mine:
        for name in ("all", *row["slices"]) if measure.set != PARTS else row["slices"]:
            members.setdefault(name, []).append(row)
    telling = [name for name, rows in members.items() if name == "all" or len(rows) < len(mine)]
    names = sorted(telling, key=lambda name: (name != "all", name))
    return [part for name in names if (part := _part(metric, name, measure, was, members[name], seed))]


def whole(metric: str, measure: Measure, before: list[Row], after: list[Row], seed: int = 0) -> Row | None:
    """Return a metric of all examples, as `of_metric` does, with an interval however few they are; None without any.

    Args:
        metric: Name of the metric.
        measure: Which rows and columns it is made from.
        before: Rows of the model before fine-tuning; none if it was not measured.
        after: Rows of the fine-tuned model.
        seed: Seed of the interval.
    """
    was = {row["example"]: row for row in before if row["set"] == measure.set}
    mine = [row for row in after if row["set"] == measure.set]
    return _part(metric, "all", measure, was, mine, seed, least=1, resamples=10_000)


def _part(
    metric: str,
    name: str,
    measure: Measure,
    was: dict[str, Row],
    mine: list[Row],
    seed: int,
    least: int = LEAST,
    resamples: int = RESAMPLES,
) -> Row | None:
    values, weights = _sums(mine, measure)
    size = weights.sum()
    if not size > 0:
        return None
    part: Row = {"metric": metric, "slice": name, "examples": len(weights), "before": None, "better_by": None}
    part["after"] = float(values.sum() / size)
    if not all(row["example"] in was for row in mine):
        return part
    earlier, _ = _sums((was[row["example"]] for row in mine), measure)
    part["before"] = float(earlier.sum() / size)
    if len(weights) >= least:
        better = (values - earlier) * (1 if measure.higher_is_better else -1)
        interval = paired(better, weights, resamples=resamples, seed=seed)
        part["better_by"] = [interval.low, interval.high]
    return part


def _sums(rows: Iterable[Row], measure: Measure) -> tuple[np.ndarray, np.ndarray]:
    """Return the metric's numerator and denominator of each example."""
    sums: dict[str, np.ndarray] = {}
    for row in rows:
        one = np.array([float(row[measure.value]) * measure.scale, float(row[measure.per])])
        example = row["example"].partition(PART)[0]
        sums[example] = sums.get(example, 0) + one
    values, weights = np.array(list(sums.values())).reshape(-1, 2).T
    return values, weights
