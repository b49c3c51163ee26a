"""Recordings of a corpus that was made for a checkpoint, as the checkpoint's network takes them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from modelmill.corpus.example_shards import ShardedExamples
from modelmill.corpus.settings import ONLY
from modelmill.models.speech.features import Features
from modelmill.models.speech.listening import DECODER
from modelmill.models.speech.recordings import IGNORED
from modelmill.tasks.contract import Batch


class Utterances:
    """Recordings of one split with their tokens.

    A batch has what `Features.batch` makes of the recordings; `labels`, int64, (batch, tokens), IGNORED where there is
    nothing to learn; for CTC `label_lengths`, int64, (batch,); and for a decoder `decoder_input_ids`.
    """

    def __init__(self, files: dict[str, Path], split: str, features: Features, info: dict[str, Any]) -> None:
        """Open a split.

        Args:
            files: The corpus's files by name.
            split: Name of the split.
            features: The checkpoint's feature extractor.
            info: What the corpus says of its tokens: `prefix`, of which nothing is learned, and a decoder's `start`.
        """
        self.kept = ShardedExamples(files, f"{split}/{ONLY}")
        self.ids, self.lengths = self.kept.ids, self.kept.lengths("samples")
        self.split, self.features = split, features
        self.prefix, self.start = int(info["prefix"]), info.get("start")

    def __len__(self) -> int:
        """Return the number of recordings."""
        return len(self.kept)

    def batch(self, indices: np.ndarray) -> Batch:
        """Return tensors on the CPU for the recordings with these numbers, int64, (batch,)."""
        batch = self.features.batch([self.sound(index) for index in indices.tolist()])
        texts = [torch.from_numpy(self.transcript(index).astype(np.int64)) for index in indices.tolist()]
        labels = nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=IGNORED)
        if self.start is None:
            return batch | {"labels": labels, "label_lengths": torch.tensor([len(one) for one in texts])}
        # After the end of a transcript any token will do: no token before it sees that.
        given = F.pad(labels.clamp(min=0), (1, -1), value=self.start)
        labels[:, : self.prefix] = IGNORED
        return batch | {"labels": labels, DECODER: given}

    def sound(self, index: int) -> np.ndarray:
        """Return a recording: float32, (samples,), where full scale is 1."""
        return self.kept.get("samples", index).astype(np.float32) / (1 << 15)

    def transcript(self, index: int) -> np.ndarray:
        """Return the tokens of a recording: uint32, (tokens,)."""
        return self.kept.get("labels", index)

    def describe(self, indices: np.ndarray) -> str:
        """Return the first of the recordings in words, for messages."""
        return f"recordings {', '.join(str(index) for index in indices[:5].tolist())} of the {self.split} split"
