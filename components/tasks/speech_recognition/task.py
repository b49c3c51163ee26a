"""Speech recognition by connectionist temporal classification (Graves et al., 2006,
https://doi.org/10.1145/1143844.1143891).
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from components.common.recipe.corpora import ONLY
from components.tasks.speech_recognition.network import BLANK, Recogniser, silenced
from components.training.plain import Plain
from components.training.sound import Recordings
from components.training.task import Batch


class SpeechRecognition(Plain):
    """The loss is per character; see `components.training.task.Task`."""

    mixed_precision = True
    unit: Literal["tokens", "samples"] = "tokens"
    input = "samples"
    axes: tuple[str, ...] = ("batch", "samples")

    def config(self) -> dict[str, Any]:
        # Evaluation does not read the recipe's model: whatever was trained is what it measures.
        shape = self.settings.model_dump(exclude={"dropout", "augmentation"}) if self.settings else {}
        return {**shape, **{key: self.corpus.info[key] for key in ("alphabet", "sample_rate")}}

    def network(self, config: dict[str, Any]) -> Recogniser:
        if self.settings is None:
            return Recogniser(config)
        return Recogniser(config, self.settings.dropout, self.settings.augmentation)

    def examples(self, stage: str, split: str) -> Recordings:
        return Recordings(self.files, split, stage if stage in self.corpus.info["corpora"] else ONLY)

    def terms(self, batch: Batch) -> int:
        return int(batch["label_lengths"].sum())

    def loss(self, model: nn.Module, batch: Batch, smoothing: float = 0.0) -> torch.Tensor:
        logits, frames = model(batch["samples"], batch["lengths"])
        likelihood = F.log_softmax(logits.float(), dim=2)
        labels = (batch["labels"] + 1).clamp(min=BLANK)
        # On a CPU, whatever the device: PyTorch's CTC has no deterministic gradient on a GPU.
        loss = F.ctc_loss(
            likelihood.transpose(0, 1).cpu(),
            labels.cpu(),
            frames.cpu(),
            batch["label_lengths"].cpu(),
            blank=BLANK,
            reduction="sum",
            zero_infinity=True,  # of a recording that was sped up so much that its transcript no longer fits
        ).to(logits.device)
        if not smoothing:
            return loss
        evenly = -silenced(likelihood, frames).mean(2).sum()
        return (1 - smoothing) * loss + smoothing * evenly

    def logits(self, model: nn.Module, values: torch.Tensor) -> torch.Tensor:
        lengths = torch.full((len(values),), values.shape[1], device=values.device)
        logits: torch.Tensor = model(values, lengths)[0]
        return logits


make_task = SpeechRecognition
