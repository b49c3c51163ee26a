"""Batches of recordings of any length, and of their transcripts."""

from pathlib import Path

import numpy as np
import torch

# The label after a transcript's last character in a batch.
IGNORED = -100


class Recordings:
    """Recordings of one split of one corpus, as `corpus.speech.utterances` keeps them, each with its transcript.

    A batch has `samples` (float32, (batch, samples)), 0 after the end of each; `lengths` (int64, (batch,)), in samples;
    `labels` (int64, (batch, characters)), IGNORED after the end of each; and `label_lengths` (int64, (batch,)).
    """

    def __init__(self, files: dict[str, Path], split: str, corpus: str) -> None:
        """Open the arrays of a split.

        Args:
            files: The corpus's files by name.
            split: Name of the split.
            corpus: Name of the corpus.
        """
        prefix = f"{split}/{corpus}/"
        names = [name for name in files if name.startswith(prefix)]
        loaded = {Path(name).stem: np.load(files[name], mmap_mode="r", allow_pickle=False) for name in names}
        self.ids = loaded["ids"]
        self.samples, self.sample_offsets = loaded["samples"], loaded["sample_offsets"]
        self.labels, self.label_offsets = loaded["labels"], loaded["label_offsets"]
        self.lengths = np.diff(self.sample_offsets)
        self.split = split

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
        samples: np.ndarray = self.samples[self.sample_offsets[index] : self.sample_offsets[index + 1]]
        return samples

    def sound(self, index: int) -> np.ndarray:
        """Return a recording: float32, (samples,), where full scale is 1."""
        return self.recording(index).astype(np.float32) / (1 << 15)

    def sounds(self) -> list[np.ndarray]:
        """Return all recordings, each as `sound` does."""
        return [self.sound(number) for number in range(len(self))]

    def transcript(self, index: int) -> np.ndarray:
        """Return the numbers of a transcript's characters: (characters,)."""
        numbers: np.ndarray = self.labels[self.label_offsets[index] : self.label_offsets[index + 1]]
        return numbers

    def describe(self, indices: np.ndarray) -> str:
        """Return the first of the recordings in words, for messages."""
        return f"recordings {', '.join(str(index) for index in indices[:5].tolist())} of the {self.split} split"


def _padded(rows: list[np.ndarray], dtype: torch.dtype, filler: int) -> torch.Tensor:
    padded = torch.full((len(rows), max(map(len, rows))), filler, dtype=dtype)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = torch.from_numpy(row.astype(np.int64))
    return padded
