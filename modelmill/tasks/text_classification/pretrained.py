"""The network of a checkpoint with a head for classes: `model.type: auto`."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from modelmill.core.errors import UserError
from modelmill.corpus.text import given_tokenizer
from modelmill.corpus.text.own_rendering import OwnTokenizer
from modelmill.recipe.sections import INIT, FineTuning
from modelmill.runtime.compatibility import require_length, require_vocabulary
from modelmill.runtime.sources import tokenizer as tokenizers
from modelmill.runtime.step_runtime import Step
from modelmill.store.manifest import Manifest
from modelmill.tasks.array_task import Arrays
from modelmill.tasks.contract import Batch
from modelmill.tasks.pretrained import heads, proof
from modelmill.tasks.pretrained.task import PretrainedTask
from modelmill.tasks.text_classification.recipe import PretrainedEncoder, Recipe
from modelmill.training.device import hardware

# Batches are as long as their longest text, rounded up to a multiple: few shapes, and little padding.
ROUNDED_TO = 8
# Texts of several lengths that a model is tried on.
MADE_UP = ("A short one.", "It is what it was, and was what it is: nothing else, as far as one can tell.", "Why?")
# Labels where those of the data are not known yet.
UNKNOWN = ["0", "1"]
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class RenderedTexts(Arrays):
    """Texts of one split, as the checkpoint's tokenizer renders them.

    A batch has `input_ids` and `attention_mask` and, where the model takes them, `token_type_ids`, int64,
    (batch, length), and `labels`, int64, (batch,). All stages have the labelled texts alone.
    """

    lengths: np.ndarray

    def __init__(self, files: dict[str, Path], split: str, padding: int) -> None:
        """Open the arrays of a split.

        Args:
            files: The corpus's files by their names in it.
            split: Name of the split.
            padding: Id of the token that fills up a row.
        """
        super().__init__(files, split)
        self.padding = padding
        self.rows = np.flatnonzero(self.arrays["labels"] >= 0)
        self.ids, self.labels = self.ids[self.rows], self.arrays["labels"][self.rows]
        self.lengths = (self.arrays["tokens"] != padding).sum(1)[self.rows]

    def batch(self, indices: np.ndarray) -> Batch:
        """Return tensors on the CPU for the examples with these numbers."""
        longest = int(self.lengths[indices].max())
        width = min(-(-longest // ROUNDED_TO) * ROUNDED_TO, self.arrays["tokens"].shape[1])
        rows = self.rows[indices]
        tokens = torch.from_numpy(self.arrays["tokens"][rows, :width].astype(np.int64))
        batch = {"input_ids": tokens, "attention_mask": (tokens != self.padding).long()}
        if "types" in self.arrays:
            batch["token_type_ids"] = torch.from_numpy(self.arrays["types"][rows, :width].astype(np.int64))
        return batch | {"labels": torch.from_numpy(self.labels[indices])}


class PretrainedTextClassification(PretrainedTask):
    """The network of a checkpoint that classifies texts; see `modelmill.tasks.contract.Task`."""

    head = PretrainedEncoder.heads[0]

    def __init__(self, corpus: Manifest, files: dict[str, Path], settings: PretrainedEncoder | None) -> None:
        """Take what a corpus says of the model; see `PretrainedTask`."""
        super().__init__(corpus, files, settings)
        self.classes: list[str] = corpus.info["classes"]
        self.length = int(corpus.info["sequence_length"])
        self.padding = int(corpus.info["special"]["padding"])
        self.has_types = bool(corpus.info["types"])

    def prepare(self, step: Step, model: nn.Module, settings: FineTuning) -> None:
        """Refuse an export that would lack an input; see `modelmill.tasks.contract.OpenTask`."""
        if settings.onnx and self.has_types:
            raise UserError("fine_tuning.onnx: this model takes types of tokens, too, which is not exported; set false")

    def labels_of_head(self) -> list[str]:
        """Return the classes."""
        return self.classes

    def overrides(self) -> dict[str, Any]:
        """Return the settings of the configuration that serving reads."""
        return {
            "problem_type": "single_label_classification",
            "pad_token_id": self.padding,
            "sequence_length": self.length,
            "rendering": "tokenizer",
            "takes_types": self.has_types,
        }

    def check(self, folder: Path) -> None:
        """Check that weights fit the corpus; see `PretrainedTask.check`."""
        super().check(folder)
        require_length(folder, self.length, self.key)
        require_vocabulary(folder, self.files["checkpoint/tokenizer.json"], self.key)

    def examples(self, stage: str, split: str) -> RenderedTexts:
        """Return the examples of a split; see `Task.examples`."""
        return RenderedTexts(self.files, split, self.padding)

    def terms(self, batch: Batch) -> int:
        """Return the number of texts."""
        return len(batch["labels"])

    def loss(self, model: Any, batch: Batch, smoothing: float = 0.0) -> torch.Tensor:
        """Return the summed loss in nats; see `Task.loss`."""
        logits = self.answers(model, batch).float()
        return F.cross_entropy(logits, batch["labels"], reduction="sum", label_smoothing=smoothing)

    def logits(self, model: nn.Module, values: torch.Tensor) -> torch.Tensor:
        """Return the logits of the classes, (batch, classes)."""
        return self.answers(model, {"input_ids": values, "attention_mask": (values != self.padding).long()})

    def answers(self, model: Any, batch: Batch) -> torch.Tensor:
        """Return the logits of a batch's texts, (batch, classes), fed in the way that is right."""
        inputs = {name: batch[name] for name in INPUTS if name in batch}

        def call(some: Batch) -> torch.Tensor:
            logits: torch.Tensor = model(**some).logits
            return logits

        return call(inputs) if self.way.padded else proof.apart(inputs, batch["attention_mask"].sum(1).cpu(), call)

    def made_up(self, model: Any) -> tuple[Batch, Sequence[Batch]]:
        """Return made-up texts, and one as long as the recipe allows; see `PretrainedTask.made_up`."""
        own = OwnTokenizer(self.checkpoint, self.length)
        return made_up(own, self.has_types, next(model.parameters()).device)

    def outputs(self, model: Any, batch: Batch) -> list[torch.Tensor]:
        """Return the logits of each text."""
        return list(model(**batch).logits)


def made_up(own: OwnTokenizer, has_types: bool, device: torch.device) -> tuple[Batch, list[Batch]]:
    """Return texts of several lengths, one of them the longest that there can be: together, and each alone.

    Args:
        own: The checkpoint's tokenizer.
        has_types: Whether the model is given types of tokens.
        device: Where the model is.
    """
    rendered = own.render([*MADE_UP, " ".join(MADE_UP * own.length)])
    width = max(len(one.ids) for one in rendered)
    arrays = {
        "input_ids": [one.ids + [own.padding] * (width - len(one.ids)) for one in rendered],
        "attention_mask": [[1] * len(one.ids) + [0] * (width - len(one.ids)) for one in rendered],
    } | ({"token_type_ids": [one.types + [0] * (width - len(one.types)) for one in rendered]} if has_types else {})
    together = {name: torch.tensor(rows, device=device) for name, rows in arrays.items()}
    alone = [
        {name: rows[number : number + 1, : len(one.ids)] for name, rows in together.items()}
        for number, one in enumerate(rendered)
    ]
    return together, alone


def check_model(folder: Path, recipe: Recipe) -> dict[str, Any]:
    """Return what is known of a checkpoint before training: how it would be fed, and what becomes of its head.

    Args:
        folder: The checkpoint.
        recipe: The recipe.

    Raises:
        UserError: It cannot be trained.
    """
    settings, device, where = recipe.preprocessing, hardware.pick_device(), f"{INIT}: {folder}"
    require_length(folder, settings.sequence_length)
    with tempfile.TemporaryDirectory() as scratch:
        given_tokenizer.copy(tokenizers.ready(where, folder), Path(scratch))
        own = OwnTokenizer(Path(scratch), settings.sequence_length)
        together, alone = made_up(own, own.has_types(MADE_UP), device)
    labels = settings.labels or UNKNOWN
    loaded = heads.load(folder, PretrainedEncoder.heads[0], labels, device, pad_token_id=own.padding)
    proved = proof.prove(loaded.model, together, alone, lambda model, batch: list(model(**batch).logits), where)
    return proved.notes() | (loaded.notes() if settings.labels else {})
