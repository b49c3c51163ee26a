"""Speech recognition by connectionist temporal classification, with augmented recordings in training."""

from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from modelmill.corpus.example_shards import ShardedExamples
from modelmill.corpus.settings import ONLY
from modelmill.models.speech.recogniser import Recogniser, ctc, hear, text_of
from modelmill.models.speech.recordings import Recordings
from modelmill.recipe.pretrained import AUTO
from modelmill.store.manifest import Manifest
from modelmill.tasks.array_task import ArrayTask
from modelmill.tasks.contract import Batch, Task
from modelmill.tasks.speech_recognition.augmentation import louder_slower, masked
from modelmill.tasks.speech_recognition.pretrained import PretrainedRecognition, check_model

__all__ = ["SpeechRecognition", "check_model", "make_task"]


class SpeechRecognition(ArrayTask):
    """The loss is per character; see `modelmill.tasks.contract.Task`."""

    mixed_precision = True
    unit: Literal["tokens", "samples"] = "tokens"
    input = "samples"
    axes: tuple[str, ...] = ("batch", "samples")

    def config(self) -> dict[str, Any]:
        """Return the configuration that `network` takes."""
        # Evaluation does not read the recipe's model: whatever was trained is what it measures.
        shape = self.settings.model_dump(exclude={"dropout", "augmentation"}) if self.settings else {}
        return {**shape, **{key: self.corpus.info[key] for key in ("alphabet", "sample_rate")}}

    def network(self, config: dict[str, Any]) -> Recogniser:
        """Return the network of a configuration, with random weights."""
        return Recogniser(config, self.settings.dropout if self.settings else 0.0)

    def examples(self, stage: str, split: str) -> Recordings:
        """Return the examples of a split in a stage; see `Task.examples`."""
        corpus = stage if stage in self.corpus.info["corpora"] else ONLY
        return Recordings(ShardedExamples(self.files, f"{split}/{corpus}"), split)

    def terms(self, batch: Batch) -> int:
        """Return the number of characters."""
        return int(batch["label_lengths"].sum())

    def loss(self, model: nn.Module, batch: Batch, smoothing: float = 0.0) -> torch.Tensor:
        """Return the summed loss in nats; see `Task.loss`."""
        samples, lengths, mask = batch["samples"], batch["lengths"], None
        if model.training:
            chosen = self.settings.augmentation
            samples, lengths = louder_slower(samples, lengths, chosen)
            mask = partial(masked, chosen=chosen)
        logits, frames = model(samples, lengths, mask)
        return ctc(logits, frames, batch["labels"], batch["label_lengths"], smoothing)

    def logits(self, model: nn.Module, values: torch.Tensor) -> torch.Tensor:
        """Return the logits of symbols, (batch, frames, characters + 1)."""
        lengths = torch.full((len(values),), values.shape[1], device=values.device)
        logits: torch.Tensor = model(values, lengths)[0]
        return logits

    def said(self, examples: Recordings) -> list[str]:
        """Return the transcripts of examples."""
        return [text_of(examples.transcript(number), self.corpus.info["alphabet"]) for number in range(len(examples))]

    def heard(self, model: Recogniser, examples: Recordings) -> list[str]:
        """Return what a network hears in examples."""
        return hear(model, examples.sounds(), self.corpus.info["alphabet"])


def make_task(corpus: Manifest, files: dict[str, Path], settings: Any) -> Task:
    """Return the task of a corpus: over our own network or, with `model.type: auto`, over a checkpoint's."""
    if corpus.info.get("model") == AUTO:
        return PretrainedRecognition(corpus, files, settings)
    return SpeechRecognition(corpus, files, settings)
