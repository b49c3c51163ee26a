"""The network of a checkpoint with a head for classes: `model.type: auto`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from modelmill.core.errors import UserError
from modelmill.corpus.text.own_rendering import OwnTokenizer
from modelmill.recipe.sections import INIT, FineTuning
from modelmill.runtime.compatibility import require_length, require_vocabulary
from modelmill.runtime.step_runtime import Step
from modelmill.store.manifest import Manifest
from modelmill.tasks.contract import Batch
from modelmill.tasks.pretrained import heads, proof, texts
from modelmill.tasks.pretrained.task import PretrainedTask
from modelmill.tasks.text_classification import kinds
from modelmill.tasks.text_classification.examples import Texts
from modelmill.tasks.text_classification.losses import loss as label_loss
from modelmill.tasks.text_classification.recipe import PretrainedEncoder, Recipe
from modelmill.training.device import hardware

# Labels where those of the data are not known yet.
UNKNOWN = ["0", "1"]
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


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
        self.kind = corpus.info.get("label_kind", kinds.SINGLE)
        self.scale: tuple[float, float] | None = corpus.info.get("label_scale")
        self.is_paired = bool(corpus.info.get("text_pair"))

    def prepare(self, step: Step, model: nn.Module, settings: FineTuning) -> None:
        """Refuse an export that would lack an input; see `modelmill.tasks.contract.OpenTask`."""
        require_exportable(settings, self.has_types)

    def labels_of_head(self) -> list[str]:
        """Return the classes."""
        return self.classes

    def overrides(self) -> dict[str, Any]:
        """Return the settings of the configuration that serving reads."""
        return {
            "problem_type": kinds.PROBLEMS[self.kind],
            "pad_token_id": self.padding,
            "sequence_length": self.length,
            "rendering": "tokenizer",
            "takes_types": self.has_types,
            **({"label_scale": list(self.scale)} if self.scale else {}),
            **({"text_pair": True} if self.is_paired else {}),
        }

    def check(self, folder: Path) -> None:
        """Check that weights fit the corpus; see `PretrainedTask.check`."""
        super().check(folder)
        require_length(folder, self.length, self.key)
        require_vocabulary(folder, self.files["checkpoint/tokenizer.json"], self.key)

    def examples(self, stage: str, split: str) -> Texts:
        """Return the labelled examples of a split, in any stage; see `Task.examples`."""
        return Texts(self.files, split, "fine_tuning", self.padding, self.length, self.scale)

    def terms(self, batch: Batch) -> int:
        """Return the number of texts."""
        return len(batch["labels"])

    def loss(self, model: Any, batch: Batch, smoothing: float = 0.0) -> torch.Tensor:
        """Return the summed loss in nats; see `Task.loss`."""
        return label_loss(self.answers(model, batch), batch["labels"], smoothing)

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
        return texts.made_up(own, self.has_types, next(model.parameters()).device, self.is_paired)

    def outputs(self, model: Any, batch: Batch) -> list[torch.Tensor]:
        """Return the logits of each text."""
        return list(model(**batch).logits)


def require_exportable(settings: FineTuning, has_types: bool) -> None:
    """Check that an export would have all inputs.

    Args:
        settings: The stage's settings.
        has_types: Whether the model takes types of tokens.

    Raises:
        UserError: It would lack one.
    """
    if settings.onnx and has_types:
        raise UserError("fine_tuning.onnx: this model takes types of tokens, too, which is not exported; set false")


def check_model(folder: Path, recipe: Recipe) -> dict[str, Any]:
    """Return what is known of a checkpoint before training: how it would be fed, and what becomes of its head.

    Args:
        folder: The checkpoint.
        recipe: The recipe.

    Raises:
        UserError: It cannot be trained.
    """
    settings, device, where = recipe.preprocessing, hardware.pick_device(), f"{INIT}: {folder}"
    own, together, alone = texts.of_checkpoint(
        where, folder, settings.sequence_length, device, settings.text_pair is not None
    )
    labels = settings.labels or UNKNOWN
    loaded = heads.load(folder, PretrainedEncoder.heads[0], labels, device, pad_token_id=own.padding)
    proved = proof.prove(loaded.model, together, alone, lambda model, batch: list(model(**batch).logits), where)
    return proved.notes() | (loaded.notes() if settings.labels else {})
