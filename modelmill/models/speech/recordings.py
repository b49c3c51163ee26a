"""Batches of recordings of any length, and of their transcripts."""

from collections.abc import Sequence
from typing import Protocol, overload

import numpy as np
import torch

# The label after a transcript's last character in a batch.
IGNORED = -100


class Stored(Protocol):
    """Examples on disk with `samples` and `labels`, as `corpus.example_shards.ShardedExamples` reads them."""

    @property
    def ids(self) -> np.ndarray:
        """Identities of the examples."""
        ...

    def __len__(self) -> int:
        """Return the number of examples."""
        ...

    def lengths(self, name: str) -> np.ndarray:
        """Return the length of each example's values."""
        ...

    def get(self, name: str, index: int) -> np.ndarray:
        """Return an example's values."""
        ...


class Recordings:
    """Recordings of one split of one corpus, as `corpus.speech.utterances` keeps them, each with its transcript.

    A batch has `samples` (float32, (batch, samples)), 0 after the end of each; `lengths` (int64, (batch,)), in samples;
    `labels` (int64, (batch, characters)), IGNORED after the end of each; and `label_lengths` (int64, (batch,)).
    """

    def __init__(self, examples: Stored, split: str) -> None:
        """Take the examples of a split.

        Args:
            examples: The examples.
            split: Name of the split.
        """
        self.split = split
        self.examples = examples
        self.ids, self.lengths = examples.ids, examples.lengths("samples")

    def __len__(self) -> int:
        """Return the number of recordings."""
        return len(self.ids)

    def batch(self, indices: np.ndarray) -> dict[str, torch.Tensor]:
        """Return the recordings with these numbers, int64, (batch,)."""
        sounds = [self.recording(index) for index in indices.tolist()]
        texts = [self.transcript(index) for index in indices.tolist()]
        return {
            "samples": _padded(sounds, torch.float32, 0) / (1 << 15),
            "lengths": torch.tensor([len(one) for one in sounds]),
            "labels": _padded(texts, torch.int64, IGNORED),
            "label_lengths": torch.tensor([len(one) for one in texts]),
        }

    def recording(self, index: int) -> np.ndarray:
        """Return the samples of a recording: int16, (samples,)."""
        return self.examples.get("samples", index)

    def sound(self, index: int) -> np.ndarray:
        """Return a recording: float32, (samples,), where full scale is 1."""
        return self.recording(index).astype(np.float32) / (1 << 15)

    def sounds(self) -> "Sounds":
        """Return all recordings, each as `sound` does."""
        return Sounds(self)

    def transcript(self, index: int) -> np.ndarray:
        """Return the numbers of a transcript's characters: (characters,)."""
        return self.examples.get("labels", index)

    def describe(self, indices: np.ndarray) -> str:
        """Return the first of the recordings in words, for messages."""
        return f"recordings {', '.join(str(index) for index in indices[:5].tolist())} of the {self.split} split"


class Sounds(Sequence[np.ndarray]):
    """The samples of recordings, each read when it is asked for."""

    def __init__(self, recordings: Recordings) -> None:
        """Take the recordings."""
        self._recordings = recordings

    def __len__(self) -> int:
        """Return the number of recordings."""
        return len(self._recordings)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...
    def __getitem__(self, index: int | slice) -> np.ndarray | list[np.ndarray]:
        """Return a recording, or some."""
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._recordings.sound(index)


def _padded(rows: list[np.ndarray], dtype: torch.dtype, filler: int) -> torch.Tensor:
    padded = torch.full((len(rows), max(map(len, rows))), filler, dtype=dtype)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = torch.from_numpy(row.astype(np.int64))
    return padded
