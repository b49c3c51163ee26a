"""Documents as hashes of runs of words, by which near duplicates and overlaps with evaluation data are found."""

import hashlib
import re
from functools import cache

import numpy as np

_WORD = re.compile(r"\w+")
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
# Hashes that are permuted at a time: each takes 8 bytes a permutation.
_BLOCK = 4096
_MOST_WORDS = 1 << 20
_LOW_BITS = np.uint64(0xFFFFFFFF)


class _Words(dict[str, int]):
    """The hashes of words, computed when they are first asked for: most words are the same few."""

    def __missing__(self, word: str) -> int:
        if len(self) == _MOST_WORDS:
            self.clear()
        hashed = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        self[word] = int.from_bytes(hashed, "little")
        return self[word]


class Fingerprints:
    """The hasher of word runs, in lower case and without what is between words; it remembers hashed words."""

    def __init__(self) -> None:
        """Start without words."""
        self._words = _Words()

    def runs(self, text: str, length: int) -> np.ndarray:
        """Return the distinct hashes of all runs of `length` words, uint64, ascending; fewer words are one run."""
        texts = _WORD.findall(text.lower())
        words = np.fromiter(map(self._words.__getitem__, texts), np.uint64, len(texts))
        length = min(length, len(words))
        if not length:
            return words
        count = len(words) - length + 1
        hashes = np.zeros(count, np.uint64)
        for place in range(length):
            hashes = hashes * _FACTOR + words[place : place + count]
        return np.unique(_mixed(hashes))


def signature(runs: np.ndarray, permutations: int) -> np.ndarray:
    """Return the MinHash (Broder, 1997) of a set of hashes: uint32, (permutations,)."""
    from datasketch import MinHash

    made = MinHash(permutations, hashfunc=int, permutations=permutations_of(permutations), scheme="affine32")
    for start in range(0, len(runs), _BLOCK):
        made.update_batch((runs[start : start + _BLOCK] & _LOW_BITS).tolist())
    return np.asarray(made.hashvalues)


@cache
def permutations_of(count: int) -> np.ndarray:
    """Return the permutations of every signature; making them costs as much as a short document."""
    from datasketch import MinHash

    return np.asarray(MinHash(count).permutations)


def _mixed(hashes: np.ndarray) -> np.ndarray:
    """Apply SplitMix64's finaliser (Steele, Lea and Flood, 2014), so that every bit depends on all."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))
