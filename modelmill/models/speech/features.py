"""The inputs of a speech checkpoint, made by its own feature extractor, and batches of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

SIZES, MASK = "sizes", "attention_mask"


class Features:
    """The feature extractor of a checkpoint.

    It hears one recording at a time, so that no example depends on the others of its batch.

    Attributes:
        extractor: The extractor of `transformers`.
        rate: Sample rate of what it hears, in Hz.
        name: Name of the network's input.
        longest: Seconds of the longest recording that is heard to its end; None where all are.
    """

    def __init__(self, folder: Path) -> None:
        """Load the extractor of a folder.

        Raises:
            ValueError, OSError, ImportError: `transformers` cannot load it here.
        """
        from transformers import AutoFeatureExtractor

        self.extractor: Any = AutoFeatureExtractor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        self.rate: int = self.extractor.sampling_rate
        self.name: str = self.extractor.model_input_names[0]
        self.longest: float | None = getattr(self.extractor, "chunk_length", None)
        if getattr(self.extractor, "dither", 0.0):
            self.extractor.dither = 0.0  # noise, with which the same recording would not be heard in the same way

    def one(self, samples: np.ndarray) -> dict[str, np.ndarray]:
        """Return the input for a recording, as the checkpoint's own pipeline makes it, without the batch's axis.

        Args:
            samples: float32, (samples,), where full scale is 1.
        """
        made = self.extractor(samples, sampling_rate=self.rate, return_tensors="np")
        return {name: np.asarray(made[name][0]) for name in (self.name, MASK) if name in made}

    def batch(self, sounds: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """Return a batch of inputs on the CPU.

        Args:
            sounds: Recordings, each float32, (samples,), where full scale is 1.

        Returns:
            The network's input, float32, filled up to the longest; `sizes`, int64, (batch,), the length of each; and
            `attention_mask`, int64, (batch, length), if they differ in length or the extractor gives one.
        """
        heard = [self.one(sound) for sound in sounds]
        values = [torch.from_numpy(one[self.name]).float() for one in heard]
        sizes = [len(one) for one in values]
        batch = {self.name: self._joined(values), SIZES: torch.tensor(sizes)}
        if len(set(sizes)) > 1 or MASK in heard[0]:
            masks = [one.get(MASK, np.ones(size)) for one, size in zip(heard, sizes, strict=True)]
            batch[MASK] = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(one).long() for one in masks], True)
        return batch

    def _joined(self, values: list[torch.Tensor]) -> torch.Tensor:
        filler = float(getattr(self.extractor, "padding_value", 0.0))
        return torch.nn.utils.rnn.pad_sequence(values, batch_first=True, padding_value=filler)
