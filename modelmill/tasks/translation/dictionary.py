"""A baseline that ignores the order of words: a dictionary of words and, for unknown words, of letters."""

from collections import defaultdict
from collections.abc import Sequence

Pair = tuple[Sequence[str], Sequence[str]]
ROUNDS = 5


class Dictionary:
    """The most probable translation of each word and each letter by IBM's model 1.

    The model is that of Brown et al., 1993, https://aclanthology.org/J93-2003, section 4.
    """

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        """Fit the dictionary.

        Args:
            pairs: Texts and their translations.
        """
        split = [(source.split(), target.split()) for source, target in pairs]
        self.words = most_probable(split)
        # Pairs of single words only, so that letters are aligned within their word.
        self.letters = most_probable([(a[0], b[0]) for a, b in split if len(a) == len(b) == 1])

    def translate(self, text: str) -> str:
        """Return the translation of a text, word by word."""
        return " ".join(self.words.get(word) or self._spelt(word) for word in text.split())

    def _spelt(self, word: str) -> str:
        return "".join(self.letters.get(letter, letter) for letter in word)


def most_probable(pairs: Sequence[Pair]) -> dict[str, str]:
    """Return the most probable translation of each piece (word or letter) of the sources.

    Probabilities come from `ROUNDS` rounds of expectation maximisation; the empty word takes its share of them, and
    stands for pieces of a target that translate nothing.

    Args:
        pairs: Pieces of sources and of their targets.
    """
    given = [(["", *source], target) for source, target in pairs]
    chance: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for source, target in given:
        for one in source:
            for other in target:
                chance[one][other] = 1.0
    for _ in range(ROUNDS):
        counts: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        for source, target in given:
            for other in target:
                total = sum(chance[one][other] for one in source)
                for one in source:
                    counts[one][other] += chance[one][other] / total
        for one, expected in counts.items():
            total = sum(expected.values())
            chance[one] = {other: count / total for other, count in expected.items()}
    # The first in order wins a tie, so that the same pairs always make the same dictionary.
    return {one: max(sorted(to), key=to.__getitem__) for one, to in chance.items() if one and to}
