"""A mask-estimating network: pretraining adds noise of any colour, fine-tuning has recorded noise."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from modelmill.core.errors import UserError
from modelmill.corpus.example_shards import ShardedExamples
from modelmill.tasks.array_task import ArrayTask
from modelmill.tasks.contract import Batch
from modelmill.tasks.speech_enhancement import sounds
from modelmill.tasks.speech_enhancement.network import Enhancer, of_config

FULL = 1 << 15


class Recordings:
    """Recordings of one split, or pairs of a noisy and a clean one.

    A batch has `samples` and, of pairs, `targets`, float32, (batch, samples), 0 after the end; and `keys`, int64,
    (batch,), which seed the noise of validation.
    """

    def __init__(self, files: dict[str, Path], split: str, kind: str) -> None:
        """Open the examples of a split.

        Args:
            files: The corpus's files by their names in it.
            split: Name of the split.
            kind: `noisy` or `clean`.
        """
        self.split = split
        self.names = ("samples", "targets") if kind == "noisy" else ("samples",)
        self.examples = ShardedExamples(files, f"{split}/{kind}")
        self.ids, self.lengths = self.examples.ids, self.examples.lengths("samples")

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.ids)

    def batch(self, indices: np.ndarray) -> Batch:
        """Return tensors on the CPU for the examples with these numbers."""
        keys = torch.from_numpy(self.ids[indices].view(np.int64))
        return {name: self._padded(name, indices) for name in self.names} | {"keys": keys}

    def describe(self, indices: np.ndarray) -> str:
        """Return where these examples come from, for a person: the first few of them."""
        return f"recordings {', '.join(str(index) for index in indices[:5].tolist())} of the {self.split} split"

    def _padded(self, name: str, indices: np.ndarray) -> torch.Tensor:
        padded = torch.zeros(len(indices), int(self.lengths[indices].max()))
        for place, index in enumerate(indices.tolist()):
            one = self.examples.get(name, index).astype(np.float32) / FULL
            padded[place, : len(one)] = torch.from_numpy(one)
        return padded


class SpeechEnhancement(ArrayTask):
    """A mask estimator; see `modelmill.tasks.contract.Task`. The loss is `sounds.error`, in dB a recording."""

    input = "samples"
    axes: tuple[str, ...] = ("batch", "samples")

    def config(self) -> dict[str, Any]:
        """Return the configuration that `network` takes."""
        info = self.corpus.info
        keep = ("type", "channels", "blocks", "window_seconds")
        shape = self.settings.model_dump(include=set(keep)) if self.settings else {}
        return {**shape, "sample_rate": info["sample_rate"]}

    def network(self, config: dict[str, Any]) -> Enhancer:
        """Return the network of a configuration, with random weights."""
        return of_config(config, self.settings.dropout if self.settings else 0.0)

    def examples(self, stage: str, split: str) -> Recordings:
        """Return the clean recordings of a split in pretraining, and else its pairs.

        Raises:
            UserError: There are none.
        """
        examples = Recordings(self.files, split, "clean" if stage == "pretraining" else "noisy")
        if not len(examples):
            raise UserError(
                f"{stage}: no clean recording is in the {split} split, and it learns from such; add some, or set "
                f"{stage}: none"
            )
        return examples

    def loss(self, model: nn.Module, batch: Batch, smoothing: float = 0.0) -> torch.Tensor:
        """Return the summed loss in dB; see `Task.loss`."""
        noisy, clean = batch["samples"], batch.get("targets", batch["samples"])
        if model.training:
            noisy, clean = self._segments(noisy, clean)
        if "targets" not in batch:
            noisy = self._with_noise(clean, None if model.training else batch["keys"])
        return sounds.error(model(noisy), clean).sum()

    def logits(self, model: nn.Module, values: torch.Tensor) -> torch.Tensor:
        """Return the samples without the noise, (batch, samples)."""
        made: torch.Tensor = model(values)
        return made

    def _segments(self, noisy: torch.Tensor, clean: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the same random segment of both recordings, at the same random loudness."""
        assert self.settings is not None
        size = min(round(self.settings.segment_seconds * self.corpus.info["sample_rate"]), noisy.shape[1])
        starts = (torch.rand(len(noisy), 1, device=noisy.device) * (noisy.shape[1] - size + 1)).long()
        places = starts + torch.arange(size, device=noisy.device)
        gain = 10 ** ((torch.rand(len(noisy), 1, device=noisy.device) * 2 - 1) * self.settings.gain / 20)
        return noisy.gather(1, places) * gain, clean.gather(1, places) * gain

    def _with_noise(self, clean: torch.Tensor, keys: torch.Tensor | None) -> torch.Tensor:
        """Return recordings with noise of any colour added, which the keys fix where there are any."""
        assert self.settings is not None
        low, high = self.settings.noise
        with torch.random.fork_rng(devices=[clean.device] if clean.is_cuda else [], enabled=keys is not None):
            if keys is not None:
                torch.manual_seed(int(keys.sum()) & 0x7FFFFFFF)
            ratio = low + (high - low) * torch.rand(len(clean), 1, device=clean.device)
            noise = sounds.coloured(len(clean), clean.shape[1], clean.device)
        return sounds.at_ratio(clean, noise, ratio)


make_task = SpeechEnhancement
