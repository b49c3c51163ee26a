"""A baseline without context: the tags that each word has most often in training."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from modelmill.tasks.token_classification import bio


class WordTags:
    """Tags of words by how often they have them in training; of a word that is not there, by all words' tags."""

    def __init__(self, words: Sequence[Sequence[str]], tags: Sequence[np.ndarray], names: Sequence[str]) -> None:
        """Count.

        Args:
            words: Words of each training text.
            tags: Numbers of their tags.
            names: Names of the tags.
        """
        self.names = names
        self.counts: dict[str, Counter[int]] = {}
        self.all = np.zeros(len(names))
        for its, numbers in zip(words, tags, strict=True):
            for word, number in zip(its, numbers.tolist(), strict=True):
                self.counts.setdefault(word, Counter())[number] += 1
                self.all[number] += 1

    def tag(self, words: Sequence[str]) -> list[int]:
        """Return the most frequent tags of a text's words, of those sequences in which each tag may follow."""
        return bio.decode(np.array([self._scores(word) for word in words]).reshape(-1, len(self.names)), self.names)

    def loss(self, tags: np.ndarray) -> float:
        """Return the mean cross-entropy of tags by the shares that they have in training, in nats."""
        return -float(np.log((self.all + 1) / (self.all + 1).sum())[tags].mean())

    def _scores(self, word: str) -> np.ndarray:
        shares = (self.all + 1) / (self.all + 1).sum()
        counts = self.counts.get(word, Counter())
        # Enough of all words' shares that no tag is impossible.
        mixed = np.array([counts[number] for number in range(len(self.names))]) + 1e-3 * shares
        scores: np.ndarray = np.log(mixed / mixed.sum())
        return scores
