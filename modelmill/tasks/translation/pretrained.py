"""A translator whose network a checkpoint decides, with its own tokenizer, languages and way of writing."""

import logging
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from modelmill.models.cross_entropy import IGNORED
from modelmill.store.manifest import Manifest
from modelmill.tasks.contract import Batch
from modelmill.tasks.pretrained.task import PretrainedTask
from modelmill.tasks.translation import decoder_inputs, generating, sides
from modelmill.tasks.translation.decoder_inputs import Start
from modelmill.tasks.translation.pair_examples import PairExamples

log = logging.getLogger("modelmill")


class PretrainedTranslation(PretrainedTask):
    """Cross-entropy on each token of the written text; see `modelmill.tasks.contract.Task`."""

    head = "AutoModelForSeq2SeqLM"
    mixed_precision = True
    unit: Literal["tokens", "samples"] = "samples"
    input = "input_ids"
    axes: tuple[str, ...] = ("batch", "length")

    def __init__(self, corpus: Manifest, files: dict[str, Path], settings: Any) -> None:
        """Take what a corpus says of the model; see `PretrainedTask`."""
        super().__init__(corpus, files, settings)
        self.sides = sides.read(files[f"checkpoint/{sides.FILE}"])
        self.start: Start = "token"

    def examples(self, stage: str, split: str) -> PairExamples:
        """Return the examples of a split in a stage; see `Task.examples`."""
        return PairExamples(self.files, split, self.padding, self.sides.length)

    def terms(self, batch: Batch) -> int:
        """Return the number of tokens to write."""
        return int((batch["labels"] != IGNORED).sum())

    def loss(self, model: Any, batch: Batch, smoothing: float = 0.0) -> torch.Tensor:
        """Return the summed loss in nats; see `Task.loss`."""
        logits = self.written(model, batch).flatten(0, 1).float()
        return F.cross_entropy(logits, batch["labels"].flatten(), reduction="sum", label_smoothing=smoothing)

    def written(self, model: Any, batch: Batch) -> torch.Tensor:
        """Return the logits of each label after those before it, (batch, target length, vocabulary)."""
        given = decoder_inputs.shifted(
            batch["labels"], self.start, model.config.decoder_start_token_id, model.config.pad_token_id
        )
        logits: torch.Tensor = model(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            decoder_input_ids=given,
            use_cache=False,
        ).logits
        return logits

    def logits(self, model: Any, values: torch.Tensor) -> torch.Tensor:
        """Return the logits of the first token of each translation, (batch, vocabulary)."""
        opening = torch.tensor(generating.opening(model, self.start, self.sides), device=values.device)
        logits: torch.Tensor = model(
            input_ids=values,
            attention_mask=(values != model.config.pad_token_id).long(),
            decoder_input_ids=opening.expand(len(values), -1),
            use_cache=False,
        ).logits[:, -1]
        return logits
