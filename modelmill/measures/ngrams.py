"""An n-gram model over symbols, bytes or tokens: what a language model without a network knows."""

from typing import NamedTuple

import numpy as np

# The number of codes that an int64 holds.
CODES = 2**63


class Level(NamedTuple):
    """The n-grams of one n that occur in the documents.

    Attributes:
        grams: Codes of the n-grams, ascending.
        counts: Their discounted counts.
        contexts: Codes of their contexts, ascending.
        totals: Counts of all n-grams of each context.
        discounted: What was discounted of these counts.
    """

    grams: np.ndarray
    counts: np.ndarray
    contexts: np.ndarray
    totals: np.ndarray
    discounted: np.ndarray


class NGrams:
    """Interpolated modified Kneser-Ney smoothing of n-grams (Chen and Goodman, 1998, section 3.3).

    https://people.eecs.berkeley.edu/~klein/cs294-5/chen_goodman.pdf

    Attributes:
        symbols: Number of symbols.
        boundary: The symbol before a document's first.
        levels: N-grams of 1 symbol, of 2 and so on.
    """

    def __init__(self, tokens: np.ndarray, offsets: np.ndarray, order: int, symbols: int, boundary: int) -> None:
        """Count the n-grams of documents.

        Args:
            tokens: Symbols of all documents, integers below `symbols`.
            offsets: Where each document begins, and the end of the last, int64, (documents + 1,).
            order: The most symbols of an n-gram, at most so many that their codes fit into 64 bits.
            symbols: Number of symbols.
            boundary: The symbol that stands before a document's first.
        """
        assert symbols**order <= CODES
        self.symbols, self.boundary = symbols, boundary
        self.levels = []
        longer, counts = np.unique(self._codes(tokens, offsets, order), return_counts=True)
        self.levels.append(_level(longer, counts, symbols))
        for n in range(order - 1, 0, -1):
            # A shorter n-gram counts once for each symbol that it follows.
            longer, counts = np.unique(longer % symbols**n, return_counts=True)
            self.levels.insert(0, _level(longer, counts, symbols))

    def losses(self, tokens: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """Return the loss of each document in nats: float64, (documents,).

        Args:
            tokens: Symbols of all documents.
            offsets: Where each document begins, and the end of the last, int64, (documents + 1,).
        """
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
        """Return a number for each symbol with the n - 1 before it: int64, (tokens,).

        The boundary stands in for symbols before the document begins.
        """
        places = np.arange(len(tokens))
        begins = np.repeat(offsets[:-1], np.diff(offsets))
        codes = np.zeros(len(tokens), np.int64)
        for back in range(n - 1, -1, -1):
            met = np.where(places - back >= begins, tokens[np.maximum(places - back, 0)], self.boundary)
            codes = codes * self.symbols + met
        return codes


def _level(grams: np.ndarray, counts: np.ndarray, symbols: int) -> Level:
    discounts = _discounts(counts)[np.minimum(counts, 3)]
    contexts, first = np.unique(grams // symbols, return_index=True)
    return Level(grams, counts - discounts, contexts, *(np.add.reduceat(of, first) for of in (counts, discounts)))


def _discounts(counts: np.ndarray) -> np.ndarray:
    """Return the discounts of counts of 0, 1, 2, and 3 or more (Chen and Goodman's equation 26), within sane bounds."""
    once, twice, thrice, four = (max(1, int((counts == k).sum())) for k in (1, 2, 3, 4))
    share = once / (once + 2 * twice)
    discounts = [0.0, 1 - 2 * share * twice / once, 2 - 3 * share * thrice / twice, 3 - 4 * share * four / thrice]
    return np.clip(discounts, [0.0, 0.1, 0.1, 0.1], [0.0, 0.9, 1.9, 2.9])


def _looked_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the value of each wanted key, 0 for one that is not there."""
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, values[places], 0)
