"""Prompts with two answers each, as preprocessing has packed them, by their places in the files."""

from pathlib import Path
from typing import Any, Literal

import numpy as np

from modelmill.core.errors import CorruptError

Kind = Literal["preferences", "labelled"]
# Sides of a token in `pairs.sides.npy`.
PROMPT, FIRST, SECOND = 0, 1, 2


class AnswerFiles:
    """The examples of a split: a prompt, and two answers to it.

    Of preferences these are the better and the worse answer. Of a labelled answer they are the answer itself and that
    of another example, of which the divergence from the reference is estimated, as KTO does.

    Attributes:
        begins: Where prompt and answers begin in their shards, int64, (examples, 3).
        sizes: Tokens of prompt and answers, int64, (examples, 3).
        shards: Number of the shard of prompt and answers, int64, (examples, 3).
        is_good: Whether a labelled answer is good, bool, (examples,); of a preference, the first one always is.
        stems: Name of each shard.
    """

    def __init__(self, files: dict[str, Path], split: str, kind: Kind, length: int) -> None:
        """Open the shards of a split.

        Args:
            files: The corpus's files by their names in it.
            split: Name of the split.
            kind: What the corpus holds.
            length: Most tokens of a prompt with an answer.

        Raises:
            CorruptError: The sides of an example are not in order.
        """
        names = sorted(n for n in files if n.startswith(f"{split}/") and n.endswith("pairs.tokens.npy"))
        self.stems = [name.removesuffix(".tokens.npy") for name in names]
        self._tokens = [_load(files, f"{stem}.tokens.npy") for stem in self.stems]
        self._learned = [_load(files, f"{stem}.learned.npy") for stem in self.stems]
        none = np.zeros((0, 3), np.int64)
        found = [(none, none, none), *(_examples(files, stem, number) for number, stem in enumerate(self.stems))]
        self.begins: np.ndarray = np.concatenate([begins for begins, _, _ in found])
        self.sizes: np.ndarray = np.concatenate([sizes for _, sizes, _ in found])
        self.shards: np.ndarray = np.concatenate([shards for _, _, shards in found])
        self.is_good = self.sizes[:, FIRST] > 0
        if kind == "labelled":
            self._mismatch(length)

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.begins)

    def part(self, example: int, side: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the tokens of a prompt or an answer, int64, and which of them are scored, bool.

        Args:
            example: Number of the example.
            side: `PROMPT`, `FIRST` or `SECOND`.
        """
        shard, begin = int(self.shards[example, side]), int(self.begins[example, side])
        where = slice(begin, begin + int(self.sizes[example, side]))
        tokens = self._tokens[shard][where].astype(np.int64)
        learned = self._learned[shard]
        return tokens, np.ones(len(tokens), bool) if learned is None or side == PROMPT else learned[where].astype(bool)

    def _mismatch(self, length: int) -> None:
        """Give each example the answer of the one before as its second, cut to what fits behind its prompt."""
        own = np.where(self.is_good, FIRST, SECOND)
        rows = np.arange(len(self))
        for array in (self.begins, self.sizes, self.shards):
            array[:, FIRST] = array[rows, own]
            array[:, SECOND] = np.roll(array[:, FIRST], 1)
        self.sizes[:, SECOND] = np.minimum(self.sizes[:, SECOND], np.maximum(1, length - self.sizes[:, PROMPT]))


def _load(files: dict[str, Path], name: str) -> Any:
    return np.load(files[name], mmap_mode="r", allow_pickle=False) if name in files else None


def _examples(files: dict[str, Path], stem: str, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return begins, sizes and shards of a shard's examples; documents without an answer fill windows."""
    offsets = np.load(files[f"{stem}.offsets.npy"], allow_pickle=False).astype(np.int64)
    sides = np.load(files[f"{stem}.sides.npy"], allow_pickle=False)[: offsets[-1]]
    if not len(sides):
        return np.zeros((0, 3), np.int64), np.zeros((0, 3), np.int64), np.zeros((0, 3), np.int64)
    falls = np.flatnonzero(np.diff(sides.astype(np.int8)) < 0) + 1
    if len(strays := np.setdiff1d(falls, offsets)):
        raise CorruptError(f"{stem}.sides.npy: token {strays[0]} is of a prompt or an answer that has ended before")
    sizes = np.stack([np.add.reduceat(sides == side, offsets[:-1], dtype=np.int64) for side in range(3)], axis=1)
    begins = offsets[:-1, None] + np.cumsum(sizes, axis=1) - sizes
    has_answer = sizes[:, 1:].any(axis=1)
    return begins[has_answer], sizes[has_answer], np.full((int(has_answer.sum()), 3), number)
