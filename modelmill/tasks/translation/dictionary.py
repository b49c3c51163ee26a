"""What is known without the order of words: a dictionary of words and, for those that it lacks, of letters."""

from collections import defaultdict
from collections.abc import Sequence

Pair = tuple[Sequence[str], Sequence[str]]
ROUNDS = 5


class Dictionary:
    """The most probable translation of each word by IBM's model 1 (Brown et al., 1993,
    https://aclanthology.org/J93-2003, section 4), and of each letter by the same model.

    Args:
        pairs: texts and their translations.
    """

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        split = [(source.split(), target.split()) for source, target in pairs]
        self.words = most_probable(split)
        # Of single words, so that letters are held against those of their own word.
        self.letters = most_probable([(a[0], b[0]) for a, b in split if len(a) == len(b) == 1])

    def translate(self, text: str) -> str:
        return " ".join(self.words.get(word) or self._spelt(word) for word in text.split())

    def _spelt(self, word: str) -> str:
        return "".join(self.letters.get(letter, letter) for letter in word)


def most_probable(pairs: Sequence[Pair]) -> dict[str, str]:
    """For each piece of the sources the piece of the targets that it most probably becomes, after `ROUNDS` of
    expectation maximisation; a piece that stands for nothing (the empty word) takes its part.
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
        for one, found in counts.items():
            total = sum(found.values())
            chance[one] = {other: count / total for other, count in found.items()}
    # Ties go to the first in order, so that the same pairs always make the same dictionary.
    return {one: max(sorted(found), key=found.__getitem__) for one, found in chance.items() if one and found}
