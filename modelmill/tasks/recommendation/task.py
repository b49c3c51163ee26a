"""SASRec: self-attention over a user's history scores every item of the catalogue as the next one."""

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
        """Return the configuration that `network` takes."""
        info = self.corpus.info
        corpus = {key: info[key] for key in ("items", "sequence_length", "catalogue")}
        # Evaluation does not read the recipe's model: whatever was trained is what it measures.
        return {**(self.settings.model_dump() if self.settings else {}), **corpus}

    def network(self, config: dict[str, Any]) -> nn.Module:
        """Return the network of a configuration, with random weights."""
        return of_config(config)

    def examples(self, stage: str, split: str) -> Arrays:
        """Return the windows of a split; fine-tuning learns the recent items alone, of the windows that have any."""
        examples = Arrays(self.files, split)
        recent = examples.arrays.pop("recent", None)
        if recent is not None and stage == "fine_tuning":
            labels = np.where(recent, examples.arrays["labels"], PADDING)
            kept = np.flatnonzero(labels.any(axis=1))
            examples.arrays = {"items": examples.arrays["items"][kept], "labels": labels[kept]}
            examples.ids = examples.ids[kept]
        return examples

    def terms(self, batch: Batch) -> int:
        """Return the number of items to predict."""
        return int((batch["labels"] != PADDING).sum())

    def loss(self, model: nn.Module, batch: Batch, smoothing: float = 0.0) -> torch.Tensor:
        """Return the summed loss in nats; see `Task.loss`."""
        assert isinstance(model, SASRec)
        labels = batch["labels"]
        learned = labels != PADDING
        scores = model.scores(model.hidden(batch["items"])[learned])
        return F.cross_entropy(scores, labels[learned] - 1, reduction="sum", label_smoothing=smoothing)

    def blocks(self, model: Any) -> list[nn.Module]:
        """Return the hidden blocks in order."""
        return list(model.blocks)


make_task = Recommendation
