"""An n-gram model over symbols, bytes or tokens: what a language model without a network knows.

An n-gram's code is the number of its context among the n-grams that are one symbol shorter, times the number of
symbols, plus its last symbol. So codes of any order over any vocabulary fit into 64 bits.
"""

from typing import NamedTuple

import numpy as np


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
        levels: N-grams of 1 symbol, of 2 and so on.
    """

    def __init__(self, tokens: np.ndarray, offsets: np.ndarray, order: int, symbols: int) -> None:
        """Count the n-grams of documents; the place before a document's first symbol is a context of its own.

        Args:
            tokens: Symbols of all documents, integers below `symbols`.
            offsets: Where each document begins, and the end of the last, int64, (documents + 1,).
            order: The most symbols of an n-gram.
            symbols: Number of symbols.
        """
        self.symbols = symbols
        self.levels = []
        grams, numbers, counts = np.unique(tokens.astype(np.int64), return_inverse=True, return_counts=True)
        for _ in range(1, order):
            longer = self._codes(numbers, len(grams), tokens, offsets)
            longer_grams, first, longer_numbers, longer_counts = np.unique(longer, True, True, True)
            # A shorter n-gram counts once for each symbol that it follows.
            counts = np.bincount(numbers[first], minlength=len(grams))
            self.levels.append(_level(grams, counts, symbols))
            grams, numbers, counts = longer_grams, longer_numbers, longer_counts
        self.levels.append(_level(grams, counts, symbols))

    def losses(self, tokens: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """Return the loss of each document in nats: float64, (documents,).

        Args:
            tokens: Symbols of all documents.
            offsets: Where each document begins, and the end of the last, int64, (documents + 1,).
        """
        probability = np.full(len(tokens), 1 / self.symbols)
        codes = tokens.astype(np.int64)
        for n, level in enumerate(self.levels, start=1):
            if n > 1:
                shorter = self.levels[n - 2].grams
                codes = self._codes(_numbers(shorter, codes), len(shorter), tokens, offsets)
            total = _looked_up(level.contexts, level.totals, codes // self.symbols)
            kept = _looked_up(level.grams, level.counts, codes)
            given = kept + _looked_up(level.contexts, level.discounted, codes // self.symbols) * probability
            probability = np.where(total > 0, given / np.maximum(total, 1), probability)
        losses: np.ndarray = np.add.reduceat(-np.log(probability), offsets[:-1])
        return losses

    def _codes(self, numbers: np.ndarray, count: int, tokens: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """Return the code of the n-gram that ends at each symbol: int64, (tokens,).

        Args:
            numbers: Number of the n-gram, one symbol shorter, that ends at each symbol.
            count: How many of those were counted; one that was not has this number.
            tokens: Symbols of all documents.
            offsets: Where each document begins, and the end of the last.
        """
        contexts = np.empty(len(tokens), np.int64)
        contexts[1:] = numbers[:-1]
        contexts[offsets[:-1]] = count + 1  # a document's beginning
        contexts *= self.symbols
        contexts += tokens
        return contexts


def _numbers(grams: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return the place of each code among those that were counted, or their number for one that was not."""
    places = np.minimum(np.searchsorted(grams, codes), len(grams) - 1)
    return np.where(grams[places] == codes, places, len(grams))


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
