"""The bootstrap interval of a mean difference over pairs (Efron, 1979, https://doi.org/10.1214/aos/1176344552)."""

from statistics import NormalDist
from typing import NamedTuple

import numpy as np

# Examples with close differences are drawn as one group. What is lost of their spread is put back as normal noise.
GROUPS = 1000
# Cells of the table of counts that is held at once: 32 MiB.
CELLS_AT_ONCE = 2**22
_NORMAL = NormalDist()


class Interval(NamedTuple):
    """A mean and its confidence interval.

    Attributes:
        estimate: Mean of the sample itself.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    estimate: float
    low: float
    high: float


def paired(
    difference: np.ndarray, weight: np.ndarray, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Return the interval of sum(difference) / sum(weight) when examples are drawn anew, with replacement.

    A resample of n examples is drawn as the number of times that each group of examples comes up, which is
    multinomial: exact where there are no more distinct pairs of numbers, or examples, than `GROUPS`. The ends are
    bias-corrected and accelerated (Efron, 1987, https://doi.org/10.1080/01621459.1987.10478410), with the acceleration
    from the statistic's influence function.

    Args:
        difference: Difference of two models on each example, such as of summed losses: float, (examples,).
        weight: Weight of each example, positive: float, (examples,).
        confidence: Probability that the interval covers the true value.
        resamples: Number of resamples.
        seed: Seed of the draws.

    Raises:
        ValueError: There are no examples, or their weights sum to nothing.
    """
    count, total = len(difference), float(weight.sum())
    if not count or total <= 0:
        raise ValueError("there is nothing to draw from")
    estimate = float(difference.sum()) / total
    influence = (difference - estimate * weight) * (count / total)
    if not influence.any():
        return Interval(estimate, estimate, estimate)
    statistics = np.sort(_resampled(difference, weight, influence, resamples, seed))
    tail = (1 - confidence) / 2
    # Sums round differently from one machine to another, which must not decide what is a tie.
    ties = np.abs(statistics - estimate) <= 1e-9 * (statistics[-1] - statistics[0])
    below = float(np.mean((statistics < estimate) & ~ties) + np.mean(ties) / 2)
    bias = _NORMAL.inv_cdf(min(max(below, 1 / (resamples + 1)), resamples / (resamples + 1)))
    relative = influence / np.abs(influence).max()
    acceleration = float((relative**3).sum() / (6 * (relative**2).sum() ** 1.5))
    low, high = (_level(tail, bias, acceleration), _level(1 - tail, bias, acceleration))
    return Interval(estimate, *(float(end) for end in np.quantile(statistics, [low, high])))


def _level(probability: float, bias: float, acceleration: float) -> float:
    """Return the bias-corrected and accelerated quantile for a nominal one."""
    shifted = bias + _NORMAL.inv_cdf(probability)
    return _NORMAL.cdf(bias + shifted / (1 - acceleration * shifted))


def _resampled(
    difference: np.ndarray, weight: np.ndarray, influence: np.ndarray, resamples: int, seed: int
) -> np.ndarray:
    """Return the statistic of each resample."""
    sizes, sums, within = _grouped(difference, weight, influence)
    count, random = len(difference), np.random.default_rng(seed)
    means, spread = sums / sizes[:, None], within / sizes
    at_once = max(1, CELLS_AT_ONCE // len(sizes))
    statistics = []
    for first in range(0, resamples, at_once):
        drawn = random.multinomial(count, sizes / count, size=min(at_once, resamples - first)).astype(np.float64)
        values = drawn @ means
        noise = random.standard_normal(len(drawn)) * np.sqrt(drawn @ spread) / count
        statistics.append(values[:, 0] / values[:, 1] + noise)
    return np.concatenate(statistics)


def _grouped(
    difference: np.ndarray, weight: np.ndarray, influence: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return groups of examples with close influence.

    Returns:
        Examples of each group, (groups,); sums of their differences and weights, (groups, 2); and their influence's
        squared deviations from the group's mean, (groups,).
    """
    order = np.lexsort((weight, influence))
    pairs = np.stack([difference[order], weight[order]], axis=1)
    is_new = np.any(pairs[1:] != pairs[:-1], axis=1)
    is_exact = 1 + int(is_new.sum()) <= GROUPS
    if is_exact:
        starts = np.concatenate([[0], 1 + np.flatnonzero(is_new)])
    else:
        starts = np.unique(np.linspace(0, len(order), GROUPS, endpoint=False).astype(np.int64))
    sizes = np.diff(np.append(starts, len(order)))
    ordered = influence[order]
    squares = np.add.reduceat(ordered**2, starts) - np.add.reduceat(ordered, starts) ** 2 / sizes
    # Rounding would be noise, and break ties.
    within = np.zeros(len(sizes)) if is_exact else np.maximum(squares, 0.0)
    return sizes, np.add.reduceat(pairs, starts), within
