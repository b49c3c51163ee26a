"""A mask-estimating network: noise of any colour in pretraining, that of the recordings in fine-tuning."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from modelmill.core.errors import UserError
from modelmill.tasks.array_task import ArrayTask
from modelmill.tasks.contract import Batch
from modelmill.tasks.speech_enhancement import sounds
from modelmill.tasks.speech_enhancement.network import Enhancer, of_config

FULL = 1 << 15


class Recordings:
    """Recordings of one split: `samples` and, of pairs, `targets`, float32, (batch, samples), 0 after the end; `keys`,
    int64, (batch,), which fix what is drawn for a recording in validation.
    """

    def __init__(self, files: dict[str, Path], split: str, kind: str) -> None:
        prefix = f"{split}/{kind}/"
        names = [name for name in files if name.startswith(prefix)]
        self.arrays = {Path(n).stem: np.load(files[n], mmap_mode="r", allow_pickle=False) for n in names}
        self.ids, self.offsets = self.arrays.pop("ids"), self.arrays.pop("offsets")
        self.lengths = np.diff(self.offsets)
        self.split = split

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, indices: np.ndarray) -> Batch:
        keys = torch.from_numpy(self.ids[indices].view(np.int64))
        return {name: self._padded(array, indices) for name, array in self.arrays.items()} | {"keys": keys}

    def describe(self, indices: np.ndarray) -> str:
        return f"recordings {', '.join(str(index) for index in indices[:5].tolist())} of the {self.split} split"

    def _padded(self, array: np.ndarray, indices: np.ndarray) -> torch.Tensor:
        padded = torch.zeros(len(indices), int(self.lengths[indices].max()))
        for place, index in enumerate(indices.tolist()):
            one = array[self.offsets[index] : self.offsets[index + 1]].astype(np.float32) / FULL
            padded[place, : len(one)] = torch.from_numpy(one)
        return padded


class SpeechEnhancement(ArrayTask):
    """The loss is the error in dB a recording, see `sounds.error`; else as `modelmill.tasks.contract.Task`."""

    input = "samples"
    axes: tuple[str, ...] = ("batch", "samples")

    def config(self) -> dict[str, Any]:
        info = self.corpus.info
        keep = ("type", "channels", "blocks", "window_seconds")
        shape = self.settings.model_dump(include=set(keep)) if self.settings else {}
        return {**shape, "sample_rate": info["sample_rate"]}

    def network(self, config: dict[str, Any]) -> Enhancer:
        return of_config(config, self.settings.dropout if self.settings else 0.0)

    def examples(self, stage: str, split: str) -> Recordings:
        examples = Recordings(self.files, split, "clean" if stage == "pretraining" else "noisy")
        if not len(examples):
            raise UserError(
                f"{stage}: no clean recording is in the {split} split, and it learns from such; add some, or set "
                f"{stage}: none"
            )
        return examples

    def loss(self, model: nn.Module, batch: Batch, smoothing: float = 0.0) -> torch.Tensor:
        noisy, clean = batch["samples"], batch.get("targets", batch["samples"])
        if model.training:
            noisy, clean = self._segments(noisy, clean)
        if "targets" not in batch:
            noisy = self._with_noise(clean, None if model.training else batch["keys"])
        return sounds.error(model(noisy), clean).sum()

    def logits(self, model: nn.Module, values: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = model(values)
        return made

    def _segments(self, noisy: torch.Tensor, clean: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The same times of both, drawn for each recording, as loud as is drawn."""
        assert self.settings is not None
        size = min(round(self.settings.segment_seconds * self.corpus.info["sample_rate"]), noisy.shape[1])
        starts = (torch.rand(len(noisy), 1, device=noisy.device) * (noisy.shape[1] - size + 1)).long()
        places = starts + torch.arange(size, device=noisy.device)
        gain = 10 ** ((torch.rand(len(noisy), 1, device=noisy.device) * 2 - 1) * self.settings.gain / 20)
        return noisy.gather(1, places) * gain, clean.gather(1, places) * gain

    def _with_noise(self, clean: torch.Tensor, keys: torch.Tensor | None) -> torch.Tensor:
        """Noise of any colour added; for validation, where there are keys, always the same."""
        assert self.settings is not None
        low, high = self.settings.noise
        with torch.random.fork_rng(devices=[clean.device] if clean.is_cuda else [], enabled=keys is not None):
            if keys is not None:
                torch.manual_seed(int(keys.sum()) & 0x7FFFFFFF)
            ratio = low + (high - low) * torch.rand(len(clean), 1, device=clean.device)
            noise = sounds.coloured(len(clean), clean.shape[1], clean.device)
        return sounds.at_ratio(clean, noise, ratio)


make_task = SpeechEnhancement
