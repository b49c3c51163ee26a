"""A BERT encoder: masked language modelling in pretraining, a class for each text in fine-tuning."""

import shutil
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from modelmill.core.errors import UserError
from modelmill.models.keyed_random import drawn
from modelmill.recipe.pretrained import AUTO, PretrainedModel
from modelmill.recipe.sections import FineTuning
from modelmill.runtime.compatibility import require_length, require_vocabulary
from modelmill.runtime.step_runtime import Step
from modelmill.runtime.weights import read_config
from modelmill.store.manifest import Manifest
from modelmill.tasks.contract import Batch, Task
from modelmill.tasks.text_classification import kinds, masking, pretrained
from modelmill.tasks.text_classification.examples import Texts
from modelmill.tasks.text_classification.losses import loss as label_loss
from modelmill.tasks.text_classification.pretrained import PretrainedTextClassification
from modelmill.tasks.text_classification.recipe import EncoderModel, Recipe

HEADS = ("cls.", "classifier.", "bert.pooler.")


class TextClassification:
    """A BERT encoder; see `modelmill.tasks.contract.Task`.

    The loss is per hidden token in pretraining, and else per text.
    """

    mixed_precision = True
    unit: Literal["tokens", "samples"] = "samples"
    input = "input_ids"
    axes: tuple[str, ...] = ("batch", "length")
    stage = ""

    def __init__(self, corpus: Manifest, files: dict[str, Path], settings: EncoderModel | None) -> None:
        """Take what a corpus says of the model.

        Args:
            corpus: The manifest that `preprocess` has made.
            files: The corpus's files by their names in it.
            settings: The recipe's `model`; None in evaluation.
        """
        self.files = files
        self.settings = settings
        self.classes: list[str] = corpus.info["classes"]
        self.length = int(corpus.info["sequence_length"])
        self.vocab_size = int(corpus.info["vocab_size"])
        self.special: dict[str, int] = corpus.info["special"]
        self.kind = corpus.info.get("label_kind", kinds.SINGLE)
        self.scale: tuple[float, float] | None = corpus.info.get("label_scale")
        self.is_paired = bool(corpus.info.get("text_pair"))

    def examples(self, stage: str, split: str) -> Texts:
        """Return the examples of a split in a stage; see `Task.examples`."""
        return Texts(self.files, split, stage, self.special["padding"], self.length, self.scale)

    def build(self) -> nn.Module:
        """Return the recipe's model with random weights."""
        from transformers import BertConfig

        assert self.settings is not None
        shape = self.settings.model_dump(exclude={"type", "dropout", "masked"})
        config = BertConfig(
            vocab_size=self.vocab_size,
            max_position_embeddings=self.length,
            hidden_dropout_prob=self.settings.dropout,
            attention_probs_dropout_prob=self.settings.dropout,
            **shape,
            **self._told(),
        )
        model: nn.Module = self._kind()._from_config(config, attn_implementation="sdpa", dtype=torch.float32)
        return model

    def load(self, folder: Path) -> nn.Module:
        """Return the model in a folder; see `Task.load`.

        Raises:
            UserError: The weights do not fit the recipe or the corpus.
        """
        from transformers.utils import logging

        logging.disable_progress_bar()
        logging.set_verbosity_error()  # a new head is what fine-tuning expects
        if (kind := read_config(folder).get("model_type")) != "bert":
            raise UserError(f"pretraining.init: {folder}: its model_type is {kind!r}, this task wants 'bert'")
        require_length(folder, self.length)
        require_vocabulary(folder, self.files["tokenizer/tokenizer.json"])
        try:
            model, loading_info = self._kind().from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                attn_implementation="sdpa",
                dtype=torch.float32,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **self._told(),
            )
        except (ValueError, OSError, RuntimeError, KeyError) as error:
            raise UserError(f"pretraining.init: {folder}: not a BERT that transformers loads: {error}") from error
        wrong = [*loading_info["missing_keys"], *(entry[0] for entry in loading_info["mismatched_keys"])]
        if missing := sorted(name for name in wrong if not name.startswith(HEADS)):
            raise UserError(f"pretraining.init: {folder}: its weights lack {missing[0]} as config.json describes it")
        return model

    def prepare(self, step: Step, model: nn.Module, settings: FineTuning) -> None:
        """Refuse an export that would lack an input; see `modelmill.tasks.contract.OpenTask`."""
        pretrained.require_exportable(settings, self.is_paired)

    def blocks(self, model: Any) -> list[nn.Module]:
        """Return the hidden blocks in order."""
        return list(model.bert.encoder.layer)

    def whole(self, model: nn.Module) -> list[str]:
        """Return the names of the modules that are trained whole beside adapters: those of the head."""
        return ["bert.pooler", "classifier"]

    def compilable(self, model: nn.Module) -> list[nn.Module]:
        """Return no modules: the length differs from batch to batch."""
        return []

    def terms(self, batch: Batch) -> int:
        """Return the number of texts or, in pretraining, of hidden tokens."""
        if "labels" in batch:
            return len(batch["labels"])
        return int(masking.count(batch["attention_mask"].sum(1), self._share()).sum())

    def loss(self, model: Any, batch: Batch, smoothing: float = 0.0) -> torch.Tensor:
        """Return the summed loss in nats; see `Task.loss`."""
        if "labels" in batch:
            return label_loss(self.answers(model, batch), batch["labels"], smoothing)
        tokens = batch["input_ids"]
        draws = drawn(batch["keys"], tokens.shape[1])
        if model.training:
            draws = torch.rand(draws.shape, device=tokens.device)
        hidden = masking.hide(
            tokens, batch["attention_mask"], draws, self._share(), self.special["mask"], self.vocab_size
        )
        states = model.bert(**_inputs(batch) | {"input_ids": hidden.input_ids}).last_hidden_state
        logits = model.cls(states[hidden.places])
        return F.cross_entropy(logits.float(), tokens[hidden.places], reduction="sum", label_smoothing=smoothing)

    def logits(self, model: nn.Module, values: torch.Tensor) -> torch.Tensor:
        """Return the logits of the classes, (batch, classes)."""
        logits: torch.Tensor = model(input_ids=values, attention_mask=(values != self.special["padding"]).long()).logits
        return logits

    def answers(self, model: Any, batch: Batch) -> torch.Tensor:
        """Return the logits of a batch's texts, (batch, classes)."""
        logits: torch.Tensor = model(**_inputs(batch)).logits
        return logits

    def save(self, model: Any, folder: Path) -> None:
        """Write the model into an empty folder; see `Task.save`."""
        model.save_pretrained(folder, safe_serialization=True)
        for name, file in self.files.items():
            if name.startswith("tokenizer/"):
                shutil.copyfile(file, folder / Path(name).name)

    def _kind(self) -> Any:
        from transformers import BertForMaskedLM, BertForSequenceClassification

        return BertForMaskedLM if self.stage == "pretraining" else BertForSequenceClassification

    def _told(self) -> dict[str, Any]:
        """Return the settings of the configuration beside the shape, which serving needs."""
        return {
            "id2label": dict(enumerate(self.classes)),
            "label2id": {name: number for number, name in enumerate(self.classes)},
            "bos_token_id": self.special["first"],
            "eos_token_id": self.special["last"],
            "mask_token_id": self.special["mask"],
            "pad_token_id": self.special["padding"],
            "sequence_length": self.length,
            **({} if self.kind == kinds.SINGLE else {"problem_type": kinds.PROBLEMS[self.kind]}),
            **({"label_scale": list(self.scale)} if self.scale else {}),
            **({"text_pair": True} if self.is_paired else {}),
        }

    def _share(self) -> float:
        assert self.settings is not None
        return self.settings.masked


def _inputs(batch: Batch) -> Batch:
    return {name: batch[name] for name in pretrained.INPUTS if name in batch}


def make_task(corpus: Manifest, files: dict[str, Path], settings: Any) -> Task:
    """Return the task of a corpus: over our own encoder or, with `model.type: auto`, over a checkpoint's network."""
    if corpus.info.get("model") == AUTO:
        return PretrainedTextClassification(corpus, files, settings)
    return TextClassification(corpus, files, settings)


def check_model(folder: Path, recipe: Recipe) -> dict[str, Any]:
    """Return the way in which a checkpoint would be fed; see `modelmill.tasks.contract.Training`.

    Args:
        folder: The checkpoint.
        recipe: The recipe.

    Raises:
        UserError: It cannot be trained.
    """
    if not isinstance(recipe.model, PretrainedModel):
        return {}
    return pretrained.check_model(folder, recipe)
