"""Pairs of one split as a checkpoint takes them, read from the corpus's files while it trains."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from modelmill.corpus.example_shards import ShardedExamples
from modelmill.models.cross_entropy import IGNORED
from modelmill.tasks.array_task import described
from modelmill.tasks.contract import Batch
from modelmill.tasks.translation.sides import SIDES

# Batches are as long as their longest text, rounded up to a multiple: few shapes, and little padding.
ROUNDED_TO = 8


class PairExamples:
    """Pairs of one split.

    A batch has `input_ids` and `attention_mask`, int64, (batch, source length), and `labels`, int64, (batch, target
    length), IGNORED after a text's end.

    Attributes:
        ids: Identities of the pairs, uint64, (pairs,).
        lengths: Tokens of both sides, by which batches are grouped.
    """

    def __init__(self, files: dict[str, Path], split: str, padding: int, longest: int) -> None:
        """Open the examples of a split.

        Args:
            files: The corpus's files by their names in it.
            split: Name of the split.
            padding: Id of the token that fills up a row.
            longest: Most tokens of a text.
        """
        self.split, self.padding, self.longest = split, padding, longest
        self._examples = ShardedExamples(files, split)
        self.ids = self._examples.ids
        self.source_lengths = self._examples.lengths("source")
        self.lengths = self.source_lengths + self._examples.lengths("target")

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.ids)

    def batch(self, indices: np.ndarray) -> Batch:
        """Return tensors on the CPU for the examples with these numbers."""
        pairs = [[self._examples.get(side, index) for side in SIDES] for index in indices.tolist()]
        return batch_of(pairs, self.padding, self.longest)

    def texts(self, side: str, indices: np.ndarray) -> list[str]:
        """Return the texts of a side, `source` or `target`, of the examples with these numbers."""
        return [self._examples.text(f"{side}_text", index) for index in indices.tolist()]

    def describe(self, indices: np.ndarray) -> str:
        """Return where these examples come from, for a person: the first few of them."""
        return described(indices, self.split)


def batch_of(pairs: Sequence[Sequence[np.ndarray]], padding: int, longest: int | None = None) -> Batch:
    """Return a batch of pairs, as `PairExamples` describes it.

    Args:
        pairs: Ids of each source and its target.
        padding: Id of the token that fills up a row.
        longest: Most tokens of a row, for rows that are rounded up to few lengths; None leaves them as long as the
            longest text.
    """
    read, mask = _rows([source for source, _ in pairs], padding, longest)
    written, _ = _rows([target for _, target in pairs], IGNORED, longest)
    arrays = {"input_ids": read, "attention_mask": mask, "labels": written}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _rows(texts: list[np.ndarray], filler: int, longest: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return ids, filled up, and which of them are a text's: int64, (batch, length)."""
    lengths = np.array([len(text) for text in texts])
    width = int(lengths.max())
    if longest is not None:
        width = min(-(-width // ROUNDED_TO) * ROUNDED_TO, longest)
    rows = np.full((len(texts), width), filler, np.int64)
    for row, text in zip(rows, texts, strict=True):
        row[: len(text)] = text
    return rows, (np.arange(width) < lengths[:, None]).astype(np.int64)
