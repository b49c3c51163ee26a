"""SASRec: self-attention over a user's items so far scores every item of the catalogue as the next one."""

from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from modelmill.tasks.array_task import Arrays, ArrayTask
from modelmill.tasks.contract import Batch
from modelmill.tasks.recommendation.network import PADDING, SASRec, of_config


class Recommendation(ArrayTask):
    """Cross-entropy of each item that follows, over the catalogue; see `modelmill.tasks.contract.Task`."""

    unit: Literal["tokens", "samples"] = "tokens"
    input = "items"

    def config(self) -> dict[str, Any]:
        info = self.corpus.info
        corpus = {key: info[key] for key in ("items", "sequence_length", "catalogue")}
        # Evaluation does not read the recipe's `model`: a model says itself what it is.
        return {**(self.settings.model_dump() if self.settings else {}), **corpus}

    def network(self, config: dict[str, Any]) -> nn.Module:
        return of_config(config)

    def examples(self, stage: str, split: str) -> Arrays:
        """Pretraining learns every item of a window; fine-tuning the recent ones, of the windows that have such."""
        examples = Arrays(self.files, split)
        recent = examples.arrays.pop("recent", None)
        if recent is not None and stage == "fine_tuning":
            labels = np.where(recent, examples.arrays["labels"], PADDING)
            kept = np.flatnonzero(labels.any(axis=1))
            examples.arrays = {"items": examples.arrays["items"][kept], "labels": labels[kept]}
            examples.ids = examples.ids[kept]
        return examples

    def terms(self, batch: Batch) -> int:
        return int((batch["labels"] != PADDING).sum())

    def loss(self, model: nn.Module, batch: Batch, smoothing: float = 0.0) -> torch.Tensor:
        assert isinstance(model, SASRec)
        labels = batch["labels"]
        learned = labels != PADDING
        scores = model.scores(model.hidden(batch["items"])[learned])
        return F.cross_entropy(scores, labels[learned] - 1, reduction="sum", label_smoothing=smoothing)

    def blocks(self, model: Any) -> list[nn.Module]:
        return list(model.blocks)


make_task = Recommendation
