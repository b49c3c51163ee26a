"""How far the distributions of new data have moved from those that a model was trained on: effect sizes, not tests."""

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from modelmill.components.data_validation import reference
from modelmill.components.data_validation.profile import Column, Profile
from modelmill.components.data_validation.sketch import Histogram
from modelmill.data.shard import Shard
from modelmill.recipe import Recipe, step_specs
from modelmill.recipe.sections import DriftLimits
from modelmill.store import Store

DECILES = 10
# The reference's most frequent values are compared one by one, the others together.
MOST_CATEGORIES = 20
_CLASSES = {
    "lower case": range(ord("a"), ord("z") + 1),
    "upper case": range(ord("A"), ord("Z") + 1),
    "digits": range(ord("0"), ord("9") + 1),
    "white space": (9, 10, 11, 12, 13, 32),
    # The first byte of a character says how many it has; those that follow are not counted.
    "two bytes": range(0xC0, 0xE0),
    "three bytes": range(0xE0, 0xF0),
    "four bytes": range(0xF0, 0x100),
}
_CONTROL = [*(byte for byte in range(32) if byte not in (9, 10, 11, 12, 13)), 127]
_FOLLOWING = range(0x80, 0xC0)


class ColumnDrift(NamedTuple):
    """The drift of one distribution of a column.

    Attributes:
        column: Name of the column.
        of: The distribution: nulls, values, length, characters or tokens.
        psi: Population stability index, in nats.
        wasserstein: Distance in standard deviations of the reference; None where the values are not numbers.
        drifted: Whether a limit is exceeded.
    """

    column: str
    of: str
    psi: float
    wasserstein: float | None
    drifted: bool


class Drift(NamedTuple):
    """The drift of all columns.

    Attributes:
        measures: The distributions' drifts, largest index first.
        skipped: Columns with too few values, then or now.
    """

    measures: list[ColumnDrift]
    skipped: list[str]

    @property
    def drifted(self) -> bool:
        """Whether any distribution has drifted."""
        return any(measure.drifted for measure in self.measures)

    @property
    def value(self) -> float:
        """The largest population stability index."""
        return max((measure.psi for measure in self.measures), default=0.0)

    def to_json(self) -> dict[str, Any]:
        """Return the drift as JSON."""
        measures = [measure._asdict() for measure in self.measures]
        return {"drifted": self.drifted, "drift": self.value, "measures": measures, "skipped": self.skipped}


def compare(reference: Profile, new: Profile, limits: DriftLimits) -> Drift:
    """Compare each column's distributions in two profiles; a column that one lacks is null there.

    Args:
        reference: The profile of the data that the registered model was made from.
        new: The profile of the new data.
        limits: The largest index and distance, and the fewest values to compare.
    """
    measures: list[ColumnDrift] = []
    skipped: list[str] = []
    for name in dict.fromkeys([*reference.columns, *new.columns]):
        then, now = (profile.columns.get(name, Column()) for profile in (reference, new))
        if then.kind and now.kind and then.kind != now.kind:
            now = Column()  # another type of value shares none with the old
        distributions = [
            ("nulls", _nulls(then, reference.rows), _nulls(now, new.rows), None),
            *_distributions(then, now),
        ]
        kept = [(of, a, b, w) for of, a, b, w in distributions if min(a.sum(), b.sum()) >= _enough(len(a), limits)]
        if len(kept) < len(distributions):
            skipped.append(name)
        for of, a, b, wasserstein in kept:
            psi = stability_index(a, b)
            is_far = psi > limits.psi or (wasserstein is not None and wasserstein > limits.wasserstein)
            measures.append(ColumnDrift(name, of, psi, wasserstein, is_far))
    return Drift(sorted(measures, key=lambda m: -m.psi), skipped)


def _enough(bins: int, limits: DriftLimits) -> float:
    """Return the fewest values to compare: chance alone moves the index by about (bins - 1)(1/n + 1/m)."""
    return limits.minimum * max(1.0, (bins - 1) / DECILES)


def of_recipe(recipe: Recipe, source_shards: list[Shard], store: Store) -> tuple[str, Drift] | None:
    """Compare the recipe's data with that of its registered model.

    The states of scanned shards are kept in the store, where the next run finds them.

    Args:
        recipe: The recipe.
        source_shards: The recipe's shards.
        store: The store of the model's reference and of the shards' states.

    Returns:
        The registered version and the drift; None where the model has no reference.

    Raises:
        UserError: See `contract.judge`.
        Quarantined: See `contract.judge`.
    """
    from modelmill.components.data_validation import contract, conversations
    from modelmill.components.data_validation.shard_states import ShardStates

    known = reference.find(store, recipe.registration.model)
    if known is None:
        return None
    suite: dict[str, Any] = recipe.data.suite  # type: ignore[assignment]
    with tempfile.TemporaryDirectory(prefix="modelmill-drift-") as scratch:
        states = ShardStates(store, step_specs.code_of("data_validation", recipe), Path(scratch))
        judged = contract.judge(
            recipe.data.path,
            source_shards,
            suite,
            lambda done, total, text: None,
            states,
            recipe.data.quarantine,
            profile=True,
            conversations=conversations.of_recipe(recipe),
        )
    assert judged.profile is not None
    return known.version, compare(known.profile, judged.profile, recipe.data.drift)


def stability_index(reference: np.ndarray, new: np.ndarray) -> float:
    """Return the population stability index of two arrays of counts over the same bins, in nats.

    It is the symmetric Kullback-Leibler divergence of the shares, with half a count added to each so that an empty bin
    is finite (N. Siddiqi, Credit Risk Scorecards, 2006, where 0.1 is a small shift and 0.25 a large one).
    """
    p, q = (counts + 0.5 for counts in (reference, new))
    p, q = p / p.sum(), q / q.sum()
    return float(((q - p) * np.log(q / p)).sum())


def wasserstein(reference: Histogram, new: Histogram) -> float | None:
    """Return the 1-Wasserstein distance in standard deviations of the reference.

    Returns:
        None where that deviation is 0 or not finite.
    """
    places, weights = reference.values(), reference.counts / reference.count
    mean = float((places * weights).sum())
    deviation = float(np.sqrt(((places - mean) ** 2 * weights).sum()))
    if not deviation or not np.isfinite(deviation):
        return None
    edges = np.unique(np.concatenate([places, new.values()]))
    below = [_share_up_to(histogram, edges[:-1]) for histogram in (reference, new)]
    return float((np.abs(below[0] - below[1]) * np.diff(edges)).sum() / deviation)


def _share_up_to(histogram: Histogram, edges: np.ndarray) -> np.ndarray:
    running = np.concatenate([[0], np.cumsum(histogram.counts)]) / histogram.count
    return np.asarray(running[np.searchsorted(histogram.values(), edges, side="right")])


def _nulls(column: Column, rows: int) -> np.ndarray:
    return np.array([column.valid, rows - column.valid])


_Distribution = tuple[str, np.ndarray, np.ndarray, float | None]


def _distributions(then: Column, now: Column) -> list[_Distribution]:
    """Return the distributions of values that both have.

    Returns:
        Name, counts over the same bins then and now, and the Wasserstein distance of numbers.
    """
    if not then.valid or not now.valid:
        return []
    if then.kind in ("number", "time"):
        return [("values", *_in_deciles(then.numbers, now.numbers), wasserstein(then.numbers, now.numbers))]
    distributions: list[_Distribution] = []
    if then.kind in ("text", "category") and then.values.counts is not None:
        distributions.append(("values", *_in_categories(then, now), None))
    if then.kind == "text":
        lengths = _in_deciles(then.lengths, now.lengths)
        distributions.append(("length", *lengths, wasserstein(then.lengths, now.lengths)))
        distributions.append(("characters", _characters(then), _characters(now), None))
        distributions.append(("tokens", then.tokens, now.tokens, None))
    return distributions


def _in_deciles(then: Histogram, now: Histogram) -> tuple[np.ndarray, np.ndarray]:
    """Return counts between the reference's deciles; where it has few different numbers, each is a bin."""
    shift = max(then.shift, now.shift)
    then, now = then.at(shift), now.at(shift)
    ends = then.keys
    if len(ends) > DECILES:
        ranks = np.arange(1, DECILES) / DECILES * then.count
        ends = np.unique(then.keys[np.searchsorted(np.cumsum(then.counts), ranks)])
    bins = len(ends) + 1

    def counted(histogram: Histogram) -> np.ndarray:
        return np.bincount(np.searchsorted(ends, histogram.keys), histogram.counts, bins)

    return counted(then), counted(now)


def _in_categories(then: Column, now: Column) -> tuple[np.ndarray, np.ndarray]:
    """Return counts of the reference's most frequent values, and of all others together."""
    most = [value for value, _ in Counter(then.values.counts).most_common(MOST_CATEGORIES)]
    counts = [[(column.values.counts or Counter())[value] for value in most] for column in (then, now)]
    then_rest, now_rest = (column.valid - sum(c) for column, c in zip((then, now), counts, strict=True))
    return np.array([*counts[0], then_rest]), np.array([*counts[1], now_rest])


def _characters(column: Column) -> np.ndarray:
    known = [int(column.bytes[list(codes)].sum()) for codes in _CLASSES.values()]
    control, following = int(column.bytes[_CONTROL].sum()), int(column.bytes[list(_FOLLOWING)].sum())
    punctuation = int(column.bytes.sum()) - sum(known) - control - following
    return np.array([*known, control, punctuation])
