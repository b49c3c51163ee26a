"""Word and character error rates: the distance of what was heard from what was said."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

from rapidfuzz.distance import Levenshtein

Unit = Literal["characters", "words"]
UNITS: tuple[Unit, ...] = ("characters", "words")
# How many transcripts, or beginnings of them, are tried as a constant answer: the most frequent ones.
CANDIDATES = 40


class Edits(NamedTuple):
    """Edit distances of transcripts.

    Attributes:
        edits: Insertions, deletions and substitutions between each transcript and what was heard of it.
        sizes: Each transcript's size in characters or words.
    """

    edits: list[int]
    sizes: list[int]

    @property
    def rate(self) -> float:
        """Edits for each character or word that was said."""
        return sum(self.edits) / max(1, sum(self.sizes))


def compare(said: Sequence[str], heard: Sequence[str], unit: Unit) -> Edits:
    """Return the word or character errors of what was heard.

    Args:
        said: The transcripts.
        heard: The model's transcripts.
        unit: Whether words or characters are counted.
    """
    pairs = [(_units(one, unit), _units(other, unit)) for one, other in zip(said, heard, strict=True)]
    return Edits([Levenshtein.distance(one, other) for one, other in pairs], [len(one) for one, _ in pairs])


def best_constant(training: Sequence[str], said: Sequence[str], unit: Unit) -> tuple[str, float]:
    """Return the constant answer that is least wrong for all that was said, and its error rate.

    It is chosen, among transcripts of training and their beginnings, by the held-out transcripts, so that no guess of
    this kind is better.

    Args:
        training: Transcripts of the training split.
        said: Held-out transcripts.
        unit: Whether words or characters are counted.
    """
    spoken = [text.split() for text in training]
    beginnings = Counter(" ".join(words[:size]) for words in spoken for size in range(len(words) + 1))
    tried = ["", *(text for text, _ in beginnings.most_common(CANDIDATES) if text)]
    rates = {text: compare(said, [text] * len(said), unit).rate for text in tried}
    best = min(tried, key=lambda text: rates[text])
    return best, rates[best]


def _units(text: str, unit: Unit) -> Sequence[str]:
    return text.split() if unit == "words" else text
