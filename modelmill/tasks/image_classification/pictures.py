"""Encoded images of a corpus, decoded and prepared by a checkpoint's processor while a network trains."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from modelmill.corpus.example_shards import ShardedExamples
from modelmill.data.media.image_processor import ImageProcessor
from modelmill.data.media.images import decode, fitted
from modelmill.tasks.contract import Batch

# Bytes of prepared images that are kept: those of few labels are seen again and again.
KEPT_BYTES = 256 << 20
# Decoders that work side by side; Pillow leaves Python's lock while it decodes and scales.
_WORKERS = min(8, os.cpu_count() or 1)


class Pictures:
    """Images of one split with their labels.

    A batch has `pixel_values` (fp32, (batch, channels, height, width)) and `labels` (int64, (batch,)).

    Attributes:
        ids: Identity of each example, uint64.
        labels: Its class, int64.
    """

    lengths: np.ndarray | None = None

    def __init__(self, files: dict[str, Path], split: str, processor: ImageProcessor) -> None:
        """Open the images of a split that have a label.

        Args:
            files: The corpus's files by their names in it.
            split: Name of the split.
            processor: The checkpoint's image processor.
        """
        labels = np.load(files[f"{split}/labels.npy"], allow_pickle=False)
        self.split = split
        self._encoded = ShardedExamples(files, split)
        self._places = np.flatnonzero(labels >= 0)
        self.ids, self.labels = self._encoded.ids[self._places], labels[self._places]
        self._processor = processor
        self._kept: dict[int, np.ndarray] = {}
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="decoder")

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.ids)

    def batch(self, indices: np.ndarray) -> Batch:
        """Return tensors on the CPU for the examples with these numbers."""
        pixels = np.stack(list(self._pool.map(self._prepared, indices.tolist())))
        return {"pixel_values": torch.from_numpy(pixels), "labels": torch.from_numpy(self.labels[indices])}

    def squares(self, indices: np.ndarray, size: int) -> np.ndarray:
        """Return images as they were before the processor, scaled and cut to squares.

        Args:
            indices: Numbers of the examples.
            size: Pixels of a side.

        Returns:
            uint8, (images, channels, size, size).
        """
        made = self._pool.map(lambda index: fitted(self._decoded(index), size).transpose(2, 0, 1), indices.tolist())
        return np.stack(list(made))

    def describe(self, indices: np.ndarray) -> str:
        """Return where these examples come from, for a person: the first few of them."""
        return f"examples {', '.join(str(index) for index in indices[:5].tolist())} of the {self.split} split"

    def _prepared(self, index: int) -> np.ndarray:
        kept = self._kept.get(index)
        if kept is not None:
            return kept
        made = self._processor(self._decoded(index))
        if (len(self._kept) + 1) * made.nbytes <= KEPT_BYTES:
            self._kept[index] = made
        return made

    def _decoded(self, index: int) -> np.ndarray:
        encoded = self._encoded.get("image", int(self._places[index]))
        return decode(encoded.tobytes(), self._processor.channels)
