"""Ranked catalogues, their metrics, and two baselines that learn next to nothing."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from scipy import sparse

from modelmill.tasks.recommendation.histories import training
from modelmill.tasks.recommendation.recipe import TOP

USERS_AT_ONCE = 512
# Numbers of neighbours that item-kNN is tried with; None for all.
NEIGHBOURS = (20, 100, None)
# Takes numbers of users and a place (1 the last interaction, 2 the one before it), and returns scores of the whole
# catalogue, (users, items), from the histories up to that place.
Scorer = Callable[[np.ndarray, int], np.ndarray]


class Ranked(NamedTuple):
    """The ranks of each user.

    Attributes:
        places: Rank of the held-out item, from 0 on: int64, (users,).
        first: Numbers of the first `TOP` items, (users, TOP).
    """

    places: np.ndarray
    first: np.ndarray

    @property
    def hits(self) -> np.ndarray:
        """Recall at `TOP` of each user, bool, (users,): one item is held out."""
        return self.places < TOP

    @property
    def gains(self) -> np.ndarray:
        """NDCG at `TOP` of each user, (users,), where one item is right, so that the ideal gain is 1.

        The measure is that of Järvelin and Kekäläinen, 2002, https://doi.org/10.1145/582415.582418.
        """
        return np.where(self.hits, 1 / np.log2(self.places + 2.0), 0.0)


class KnownItems(NamedTuple):
    """The histories of all users.

    Attributes:
        items: See `Histories`.
        offsets: See `Histories`.
        size: How many items the catalogue has.
    """

    items: np.ndarray
    offsets: np.ndarray
    size: int

    def matrix(self, users: np.ndarray, held_out: int) -> sparse.csr_matrix:
        """Return the items of each user without the last `held_out`: ones at (users, items)."""
        starts, ends = self.offsets[users], self.offsets[users + 1] - held_out
        columns = np.concatenate([self.items[a:b] for a, b in zip(starts, ends, strict=True)]) - 1
        rows = np.repeat(np.arange(len(users)), ends - starts)
        return sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), (len(users), self.size))

    def held_out(self, users: np.ndarray, place: int) -> np.ndarray:
        """Return the number of an item near the end of each user's history.

        Args:
            users: Numbers of users.
            place: 1 for the last item, 2 for the one before it.
        """
        return np.asarray(self.items[self.offsets[users + 1] - place])

    def training(self) -> sparse.csr_matrix:
        """Return the items of each user in training: ones at (users, items)."""
        users, items = training(self.items, self.offsets)
        return sparse.csr_matrix(
            (np.ones(len(items), np.float32), (users, items - 1)), (len(self.offsets) - 1, self.size)
        )


def rank(known: KnownItems, scorer: Scorer, place: int = 1) -> Ranked:
    """Return the ranks of the whole catalogue for every user, without the items that the user came to before.

    Equal scores are ranked by the catalogue's order, so that the rank of an item agrees with its place in a list.

    Args:
        known: The histories.
        scorer: Scores the catalogue.
        place: 1 ranks for the last item of each user, 2 for the one before it.
    """
    places, first = [], []
    for users in batches(len(known.offsets) - 1):
        scores = np.array(scorer(users, place), np.float64)
        scores[known.matrix(users, place).nonzero()] = -np.inf
        target = known.held_out(users, place) - 1
        its = scores[np.arange(len(users)), target][:, None]
        ahead = (scores > its) | ((scores == its) & (np.arange(known.size) < target[:, None]))
        places.append(ahead.sum(axis=1))
        first.append(_first(scores) + 1)
    return Ranked(np.concatenate(places), np.concatenate(first))


def _first(scores: np.ndarray) -> np.ndarray:
    """Return the places of the `TOP` highest scores of each row, the highest first and of equal ones the earlier."""
    top = min(TOP, scores.shape[1])
    lowest = np.partition(scores, -top, axis=1)[:, -top]
    first = np.empty((len(scores), top), np.int64)
    for row, (values, least) in enumerate(zip(scores, lowest, strict=True)):
        among = np.flatnonzero(values >= least)
        first[row] = among[np.argsort(-values[among], kind="stable")][:top]
    return first


def batches(users: int) -> Iterator[np.ndarray]:
    """Yield the numbers of users in batches."""
    for begin in range(0, users, USERS_AT_ONCE):
        yield np.arange(begin, min(users, begin + USERS_AT_ONCE))


def popularity(known: KnownItems) -> Scorer:
    """Return a scorer that ignores the user: how many users came to each item in training."""
    counts = np.asarray(known.training().sum(axis=0)).ravel()
    return lambda users, place: np.tile(counts, (len(users), 1))


def item_knn(known: KnownItems) -> Scorer:
    """Return a scorer by the sum of an item's cosines with the user's items.

    The method is that of Sarwar et al., 2001, https://doi.org/10.1145/371920.372071; the number of neighbours is the
    one that ranks the validation items best.
    """
    cosines = _cosines(known.training())
    scorers = [_by_neighbours(known, _nearest(cosines, count)) for count in NEIGHBOURS]
    return max(scorers, key=lambda scorer: float(rank(known, scorer, place=2).gains.mean()))


def _by_neighbours(known: KnownItems, cosines: sparse.csr_matrix) -> Scorer:
    return lambda users, place: (known.matrix(users, place) @ cosines).toarray()


def _cosines(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return the cosines of a matrix's columns with each other, (items, items), with 0 on the diagonal."""
    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=0)).ravel())
    scaled = matrix @ sparse.diags(1 / np.maximum(lengths, np.finfo(np.float32).tiny))
    cosines = (scaled.T @ scaled).tolil()
    cosines.setdiag(0)
    return cosines.tocsr()


def _nearest(cosines: sparse.csr_matrix, count: int | None) -> sparse.csr_matrix:
    """Return the cosines of each column with only the `count` largest kept."""
    if count is None:
        return cosines
    kept = cosines.T.tocsr()
    for row in range(kept.shape[0]):
        values = kept.data[kept.indptr[row] : kept.indptr[row + 1]]
        if len(values) > count:
            values[np.argsort(-values, kind="stable")[count:]] = 0
    kept.eliminate_zeros()
    return kept.T.tocsr()
