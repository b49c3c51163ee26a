"""Distributions as small states that merge exactly, in any order."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

MOST_BINS = 4096
MOST_VALUES = 256
MOST_CHARACTERS = 100
_SIGN = np.int64(-(2**63))
_MANTISSA_AND_EXPONENT = 63


def _no_integers() -> np.ndarray:
    return np.empty(0, np.int64)


@dataclass
class Histogram:
    """Counts of numbers in bins that depend on the numbers alone.

    A bin holds the numbers whose 64 bits agree except for the last `shift`, so its width is a fixed fraction of its
    octave, as in DDSketch (Masson, Rim and Lee, 2019, https://arxiv.org/abs/1908.10693). `shift` is the smallest that
    leaves at most MOST_BINS bins with numbers in them. Bins of one shift are unions of bins of any smaller one, so the
    same numbers give the same histogram however they were spread over parts.

    Attributes:
        shift: How many of the last bits a bin ignores.
        keys: The bins, int64, ascending; negative for negative numbers, 0 for zero.
        counts: Counts of the bins, int64.
    """

    shift: int = 0
    keys: np.ndarray = field(default_factory=_no_integers)
    counts: np.ndarray = field(default_factory=_no_integers)

    @property
    def count(self) -> int:
        """How many numbers were counted."""
        return int(self.counts.sum())

    def add(self, numbers: np.ndarray) -> None:
        """Count numbers of any real dtype, without NaN."""
        bits = np.ascontiguousarray(numbers, np.float64).view(np.int64)
        magnitude = bits & ~_SIGN
        keys = np.where(magnitude == 0, 0, (magnitude >> self.shift) + 1)
        self._take(np.where(bits < 0, -keys, keys), np.ones(len(keys), np.int64))

    def merge(self, other: "Histogram") -> None:
        """Add the numbers that another histogram has counted."""
        mine, theirs = self.at(max(self.shift, other.shift)), other.at(max(self.shift, other.shift))
        self.shift, self.keys, self.counts = mine.shift, mine.keys, mine.counts
        self._take(theirs.keys, theirs.counts)

    def at(self, shift: int) -> "Histogram":
        """Return the histogram of the same numbers in wider bins."""
        return Histogram(shift, *_total(_widen(self.keys, shift - self.shift), self.counts))

    def values(self) -> np.ndarray:
        """Return the number in the middle of each bin, float64, ascending."""
        magnitude = np.abs(self.keys) - 1
        middle = (magnitude << self.shift) + ((1 << self.shift) >> 1)
        numbers = np.where(self.keys == 0, 0.0, np.minimum(middle, _LARGEST).view(np.float64))
        return np.where(self.keys < 0, -numbers, numbers)

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON."""
        return {"shift": self.shift, "keys": self.keys.tolist(), "counts": self.counts.tolist()}

    @classmethod
    def parse(cls, state: dict[str, Any]) -> "Histogram":
        """Return the histogram whose state this is."""
        return cls(state["shift"], np.array(state["keys"], np.int64), np.array(state["counts"], np.int64))

    def _take(self, keys: np.ndarray, counts: np.ndarray) -> None:
        keys, counts = _total(np.concatenate([self.keys, keys]), np.concatenate([self.counts, counts]))
        low, high = 0, _MANTISSA_AND_EXPONENT
        while low < high:
            middle = (low + high) // 2
            fits = int((np.diff(_widen(keys, middle)) != 0).sum()) < MOST_BINS
            low, high = (low, middle) if fits else (middle + 1, high)
        self.shift += low
        self.keys, self.counts = _total(_widen(keys, low), counts)


_LARGEST = np.float64(np.finfo(np.float64).max).view(np.int64)


def _widen(keys: np.ndarray, by: int) -> np.ndarray:
    """Return the keys of bins that are 2^by times as wide, in the same order."""
    wider = ((np.abs(keys) - 1) >> by) + 1
    return np.where(keys == 0, 0, np.where(keys < 0, -wider, wider))


def _total(keys: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ascending unique keys with the sums of their counts."""
    unique, place = np.unique(keys, return_inverse=True)
    totals = np.zeros(len(unique), np.int64)
    np.add.at(totals, place, counts)
    return unique, totals


@dataclass
class Values:
    """Counts of a column's values, where these are few and short.

    Attributes:
        counts: Counts by value; None for more than MOST_VALUES values or one of more than MOST_CHARACTERS characters.
    """

    counts: Counter[str] | None = field(default_factory=Counter)

    def add(self, counts: dict[str, int]) -> None:
        """Add counts by value."""
        if self.counts is None:
            return
        self.counts.update(counts)
        if len(self.counts) > MOST_VALUES or any(len(value) > MOST_CHARACTERS for value in counts):
            self.counts = None

    def merge(self, other: "Values") -> None:
        """Add the values that another object has counted."""
        if other.counts is None:
            self.counts = None
        else:
            self.add(other.counts)

    def to_json(self) -> dict[str, int] | None:
        """Return the counts as JSON."""
        return None if self.counts is None else dict(sorted(self.counts.items()))

    @classmethod
    def parse(cls, state: dict[str, int] | None) -> "Values":
        """Return the object whose state this is."""
        return cls(None if state is None else Counter(state))
