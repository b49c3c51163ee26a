"""Precision, recall and F1 of what a model finds in examples, by class, with bootstrap intervals.

What is found is a set for each example and class: entities of a text, or the labels that it has. Counts are int64 with
the last axis `RIGHT`, `FOUND`, `TRUE`.
"""

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

FILE = "classes.json"
RIGHT, FOUND, TRUE = range(3)
RESAMPLES = 2_000
# Numbers that are held at once: 32 MiB.
CELLS_AT_ONCE = 2**22
# A class, and where it was found.
Place = tuple[str, Hashable]


class Rates(NamedTuple):
    """How much of what is found is right, how much of what is there is found, and their harmonic mean."""

    precision: float
    recall: float
    f1: float


def counted(truth: Sequence[set[Place]], found: Sequence[set[Place]], classes: Sequence[str]) -> np.ndarray:
    """Return counts, (examples, classes, 3).

    Args:
        truth: What is in each example.
        found: What was found in it.
        classes: Names of the classes.
    """
    numbers = {name: number for number, name in enumerate(classes)}
    counts = np.zeros((len(truth), len(classes), 3), np.int64)
    for example, (its, mine) in enumerate(zip(truth, found, strict=True)):
        for column, places in ((RIGHT, its & mine), (FOUND, mine), (TRUE, its)):
            for name, _ in places:
                counts[example, numbers[name], column] += 1
    return counts


def rates(counts: np.ndarray) -> Rates:
    """Return the rates over all counts, of any number of axes; a rate without anything to count is 0."""
    right, found, true = counts.reshape(-1, 3).sum(axis=0).tolist()
    return Rates(right / max(found, 1), right / max(true, 1), float(f1_of(np.array([right, found, true]))))


def f1_of(counts: np.ndarray) -> np.ndarray:
    """Return 2 right / (found + true) over the last axis; 0 where there is neither."""
    both = counts[..., FOUND] + counts[..., TRUE]
    return 2 * counts[..., RIGHT] / np.maximum(both, 1)


def by_class(counts: np.ndarray, classes: Sequence[str], seed: int = 0) -> list[dict[str, Any]]:
    """Return a row for each class, and one for `all` where there are several.

    Args:
        counts: Counts, (examples, classes, 3).
        classes: Names of the classes.
        seed: Seed of the intervals.

    Returns:
        For each `class`, `true` (how many there are), `found`, `precision`, `recall`, `f1` and its 95 % interval
        `between`.
    """
    parts = {name: counts[:, number] for number, name in enumerate(classes)}
    if len(classes) > 1:
        parts = {"all": counts.sum(axis=1)} | parts
    return [
        {
            "class": name,
            "true": int(part[:, TRUE].sum()),
            "found": int(part[:, FOUND].sum()),
            **rates(part)._asdict(),
            "between": list(f1_between(part, seed)),
        }
        for name, part in parts.items()
    ]


def f1_between(counts: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Return the ends of the 95 % interval of F1 when examples are drawn anew.

    Args:
        counts: Counts, (examples, 3).
        seed: Seed of the draws.
    """
    return _ends(f1_of(_redrawn(counts, seed)))


def f1_better_by(mine: np.ndarray, its: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Return the ends of the 95 % interval of how much greater F1 is than that of another model on the same examples.

    Args:
        mine: Counts, (examples, 3).
        its: Counts of the other model, (examples, 3).
        seed: Seed of the draws.
    """
    sums = _redrawn(np.concatenate([mine, its], axis=1), seed)
    return _ends(f1_of(sums[:, :3]) - f1_of(sums[:, 3:]))


def _redrawn(counts: np.ndarray, seed: int) -> np.ndarray:
    """Return sums over examples that are drawn with replacement, (RESAMPLES, columns).

    Equal examples are drawn as one group (multinomial, which is exact).
    """
    groups, sizes = np.unique(counts, axis=0, return_counts=True)
    random, at_once = np.random.default_rng(seed), max(1, CELLS_AT_ONCE // len(groups))
    sums = [
        random.multinomial(len(counts), sizes / len(counts), size=min(at_once, RESAMPLES - first)) @ groups
        for first in range(0, RESAMPLES, at_once)
    ]
    return np.concatenate(sums)


def _ends(statistics: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(statistics, [0.025, 0.975])
    return float(low), float(high)
