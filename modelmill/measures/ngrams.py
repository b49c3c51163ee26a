"""An n-gram model over symbols, bytes or tokens: what a language model without a network knows."""

from typing import NamedTuple

import numpy as np

# What codes are counted in.
CODES = 2**63


class Level(NamedTuple):
    """The n-grams of one n that were met, sorted, and their discounted counts; their contexts, sorted, and of each the
    counts of all its n-grams and what was discounted of them.
    """

    grams: np.ndarray
    counts: np.ndarray
    contexts: np.ndarray
    totals: np.ndarray
    discounted: np.ndarray


class NGrams:
    """Interpolated modified Kneser-Ney smoothing (Chen and Goodman, 1998, section 3.3,
    https://people.eecs.berkeley.edu/~klein/cs294-5/chen_goodman.pdf) of n-grams up to `order` symbols.

    Args:
        tokens: of all documents, integers below `symbols`. offsets: where each document begins, and their end, int64,
            (documents + 1,). boundary: the symbol that stands before a document's first. order: at most so many symbols
            that their codes fit into 64 bits.
    """

    def __init__(self, tokens: np.ndarray, offsets: np.ndarray, order: int, symbols: int, boundary: int) -> None:
        assert symbols**order <= CODES
        self.symbols, self.boundary = symbols, boundary
        self.levels = []
        longer, counts = np.unique(self._codes(tokens, offsets, order), return_counts=True)
        self.levels.append(_level(longer, counts, symbols))
        for n in range(order - 1, 0, -1):
            # A shorter n-gram counts once for each symbol that it was met after.
            longer, counts = np.unique(longer % symbols**n, return_counts=True)
            self.levels.insert(0, _level(longer, counts, symbols))

    def losses(self, tokens: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """The loss of each document in nats: float64, (documents,)."""
        probability = np.full(len(tokens), 1 / self.symbols)
        for n, level in enumerate(self.levels, start=1):
            grams = self._codes(tokens, offsets, n)
            total = _looked_up(level.contexts, level.totals, grams // self.symbols)
            kept = _looked_up(level.grams, level.counts, grams)
            given = kept + _looked_up(level.contexts, level.discounted, grams // self.symbols) * probability
            probability = np.where(total > 0, given / np.maximum(total, 1), probability)
        losses: np.ndarray = np.add.reduceat(-np.log(probability), offsets[:-1])
        return losses

    def _codes(self, tokens: np.ndarray, offsets: np.ndarray, n: int) -> np.ndarray:
        """A number for each symbol with the n - 1 before it, the boundary where its document begins later: int64,
        (tokens,).
        """
        places = np.arange(len(tokens))
        begins = np.repeat(offsets[:-1], np.diff(offsets))
        found = np.zeros(len(tokens), np.int64)
        for back in range(n - 1, -1, -1):
            met = np.where(places - back >= begins, tokens[np.maximum(places - back, 0)], self.boundary)
            found = found * self.symbols + met
        return found


def _level(grams: np.ndarray, counts: np.ndarray, symbols: int) -> Level:
    discounts = _discounts(counts)[np.minimum(counts, 3)]
    contexts, first = np.unique(grams // symbols, return_index=True)
    return Level(grams, counts - discounts, contexts, *(np.add.reduceat(of, first) for of in (counts, discounts)))


def _discounts(counts: np.ndarray) -> np.ndarray:
    """What is taken off a count of 0, 1, 2, and 3 or more (Chen and Goodman's equation 26); little data may say
    something out of range.
    """
    once, twice, thrice, four = (max(1, int((counts == k).sum())) for k in (1, 2, 3, 4))
    share = once / (once + 2 * twice)
    found = [0.0, 1 - 2 * share * twice / once, 2 - 3 * share * thrice / twice, 3 - 4 * share * four / thrice]
    return np.clip(found, [0.0, 0.1, 0.1, 0.1], [0.0, 0.9, 1.9, 2.9])


def _looked_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The value of each wanted key; 0 of one that is not there."""
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, values[places], 0)
