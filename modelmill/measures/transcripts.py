"""How far what was heard is from what was said."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

from rapidfuzz.distance import Levenshtein

Unit = Literal["characters", "words"]
UNITS: tuple[Unit, ...] = ("characters", "words")
# Transcripts that are tried as a constant answer: the most frequent ones, and prefixes of them.
CANDIDATES = 40


class Edits(NamedTuple):
    """Of each transcript: how many insertions, deletions and substitutions make what was heard of it, and its size."""

    edits: list[int]
    sizes: list[int]

    @property
    def rate(self) -> float:
        return sum(self.edits) / max(1, sum(self.sizes))


def compare(said: Sequence[str], heard: Sequence[str], unit: Unit) -> Edits:
    """Word or character error counts of transcripts against what was heard."""
    pairs = [(_units(one, unit), _units(other, unit)) for one, other in zip(said, heard, strict=True)]
    return Edits([Levenshtein.distance(one, other) for one, other in pairs], [len(one) for one, _ in pairs])


def best_constant(training: Sequence[str], said: Sequence[str], unit: Unit) -> tuple[str, float]:
    """The one answer, of the transcripts of training and their beginnings, that is least wrong for all of what was
    said, and its rate: it has seen the held-out transcripts, so that no guess of this kind is better.
    """
    spoken = [text.split() for text in training]
    beginnings = Counter(" ".join(words[:size]) for words in spoken for size in range(len(words) + 1))
    tried = ["", *(text for text, _ in beginnings.most_common(CANDIDATES) if text)]
    rates = {text: compare(said, [text] * len(said), unit).rate for text in tried}
    best = min(tried, key=lambda text: rates[text])
    return best, rates[best]


def _units(text: str, unit: Unit) -> Sequence[str]:
    return text.split() if unit == "words" else text
