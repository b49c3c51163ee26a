"""A decoder language model on packed token arrays, through `transformers` configurations."""

import logging
import shutil
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from modelmill.corpus.text.framing import framing_of
from modelmill.corpus.text.tokenizer import Encoder
from modelmill.models import attention
from modelmill.models.cross_entropy import IGNORED, LinearCrossEntropy
from modelmill.recipe.sections import INIT
from modelmill.runtime.compatibility import require_length, require_vocabulary
from modelmill.runtime.step_runtime import Step
from modelmill.store.manifest import Manifest
from modelmill.tasks.contract import Batch, Examples
from modelmill.tasks.language_modeling import checkpoint, proof, ways
from modelmill.tasks.language_modeling.objectives import objective
from modelmill.tasks.language_modeling.objectives.objective import Objective
from modelmill.tasks.language_modeling.objectives.settings import LanguageFineTuning
from modelmill.tasks.language_modeling.packed_windows import PackedTokens
from modelmill.tasks.language_modeling.recipe import DecoderModel, Recipe
from modelmill.tasks.language_modeling.ways import Way
from modelmill.training.device.hardware import pick_device

log = logging.getLogger("modelmill")
ROWS_SCORED_AT_ONCE = 1024
# The part of a corpus that each stage reads: documents, or pairs, of which responses alone are learned.
SOURCE_OF_STAGE = {"pretraining": "documents", "fine_tuning": "pairs"}


class LanguageModeling:
    """Next-token prediction; see `modelmill.tasks.contract.Task`."""

    mixed_precision = True
    keeps_files = True
    unit: Literal["tokens", "samples"] = "tokens"
    input = "input_ids"
    axes: tuple[str, ...] = ("batch", "length")
    stage = ""
    # The recipe's key that names the weights which are loaded.
    key = INIT

    def __init__(self, corpus: Manifest, files: dict[str, Path], settings: DecoderModel | None) -> None:
        """Take what a corpus says of the model.

        Args:
            corpus: The manifest that `preprocess` has made.
            files: The corpus's files by their names in it.
            settings: The recipe's `model`; None in evaluation.
        """
        self.corpus = corpus
        self.files = files
        self.settings = settings
        self.length = int(corpus.info["sequence_length"])
        self.vocab_size = int(corpus.info["vocab_size"])
        self.cross_entropy = LinearCrossEntropy()
        self.way = ways.PACKED
        self.notes: dict[str, Any] = {"way": ways.PACKED.words}
        self.objective: Objective | None = None

    def prepare(self, step: Step, model: nn.Module, settings: LanguageFineTuning) -> None:
        """Take the objective of fine-tuning; see `modelmill.tasks.contract.OpenTask`."""
        self.objective = objective.prepare(step, self, model, settings)
        if self.objective:
            self.unit, self.notes = self.objective.unit, self.notes | self.objective.notes

    def examples(self, stage: str, split: str) -> Examples:
        """Return the examples of a split in a stage; see `Task.examples`."""
        plain = PackedTokens(self.files, split, SOURCE_OF_STAGE[stage], self.length)
        return self.objective.examples(plain, split) if self.objective and stage == "fine_tuning" else plain

    def build(self) -> nn.Module:
        """Return the recipe's model with random weights."""
        from transformers import LlamaConfig, LlamaForCausalLM

        assert self.settings is not None
        end = self.corpus.info["end_of_text"]
        config = LlamaConfig(
            vocab_size=self.vocab_size,
            max_position_embeddings=self.length,
            bos_token_id=self.corpus.info.get("opening", [end])[0],
            eos_token_id=end,
            pad_token_id=None,
            **self.settings.model_dump(exclude={"type"}),
        )
        attends = attention.implementation(pick_device())
        return LlamaForCausalLM._from_config(config, attn_implementation=attends, dtype=torch.float32)

    def load(self, folder: Path) -> nn.Module:
        """Return the model in a folder; see `Task.load`.

        Raises:
            UserError: The weights do not fit the recipe or the corpus.
        """
        require_length(folder, self.length, self.key)
        require_vocabulary(folder, self.files["tokenizer/tokenizer.json"], self.key)
        model, self.way, self.notes = _load(folder, self.vocab_size, self.length, self.key)
        return model

    def blocks(self, model: Any) -> list[nn.Module]:
        """Return the hidden blocks in order."""
        kinds = set(model._no_split_modules or ())
        return [module for module in model.modules() if type(module).__name__ in kinds]

    def compilable(self, model: nn.Module) -> list[nn.Module]:
        """Return the modules that are worth compiling.

        Rows of documents have so many shapes that blocks are not.
        """
        blocks = self.blocks(model) if self.way.feeding == "packed" else []
        return [*blocks, *(self.objective.compilable() if self.objective else [self.cross_entropy.score])]

    def terms(self, batch: Batch) -> int:
        """Return the number of labels that count, or the terms of the objective."""
        if self.objective:
            return self.objective.terms(batch)
        return int((batch["labels"] != IGNORED).sum())

    def counts(self, batch: Batch) -> tuple[int, ...]:
        """Return what the loss is divided by beside its terms; see `modelmill.tasks.contract.OpenTask`."""
        return self.objective.counts(batch) if self.objective else ()

    def has_first_pass(self) -> bool:
        """Return whether the loss of a part needs a sum over the whole batch."""
        return self.objective is not None and self.objective.has_first_pass()

    def first_pass(self, model: Any, batch: Batch) -> torch.Tensor:
        """Return a part's contribution to that sum, a scalar."""
        assert self.objective is not None
        return self.objective.first_pass(self, model, batch)

    def loss(self, model: Any, batch: Batch, smoothing: float = 0.0) -> torch.Tensor:
        """Return the summed loss in nats; see `Task.loss`."""
        if self.objective:
            return self.objective.loss(self, model, batch)
        labels = ways.chosen(batch["labels"].flatten(), batch)
        counted = ways.chosen(batch["weights"].flatten(), batch) if "weights" in batch else None
        if not ways.takes_plain_head(self.way, model):
            logits = ways.chosen(ways.logits(self.way, model, batch).flatten(0, 1), batch)
            if counted is None:
                return F.cross_entropy(logits.float(), labels, reduction="sum", label_smoothing=smoothing)
            nats = F.cross_entropy(logits.float(), labels, reduction="none", label_smoothing=smoothing)
            return (nats * counted).sum()
        hidden = ways.chosen(self.hidden(model, batch).flatten(0, 1), batch)
        total: torch.Tensor = self.cross_entropy(
            hidden, model.get_output_embeddings().weight, labels, smoothing, counted
        )
        return total

    @torch.no_grad()
    def losses(self, model: Any, batch: Batch) -> torch.Tensor:
        """Return the loss of each label in nats, 0 where it does not count: fp32, (batch, length)."""
        labels = batch["labels"].flatten()
        places = torch.nonzero(labels != IGNORED).flatten()
        if ways.takes_plain_head(self.way, model):
            rows, head = self.hidden(model, batch).flatten(0, 1), model.get_output_embeddings()
        else:
            rows, head = ways.logits(self.way, model, batch).flatten(0, 1), nn.Identity()
        losses = torch.zeros(len(labels), dtype=torch.float32, device=labels.device)
        for few in places.split(ROWS_SCORED_AT_ONCE):
            losses[few] = F.cross_entropy(head(rows[few]).float(), labels[few], reduction="none")
        return losses.view_as(batch["labels"])

    def hidden(self, model: Any, batch: Batch) -> torch.Tensor:
        """Return the decoder's last hidden states, (batch, length, width)."""
        return ways.hidden(self.way, model, batch)

    def logits(self, model: nn.Module, values: torch.Tensor) -> torch.Tensor:
        """Return the logits of the token after each, (batch, length, vocabulary)."""
        logits: torch.Tensor = model(**ways.unshared(model, values)).logits
        return logits

    def save(self, model: Any, folder: Path) -> None:
        """Write the model into an empty folder; see `Task.save`."""
        model.save_pretrained(folder, safe_serialization=True)
        checkpoint.require_saved(model, folder)
        for name, file in self.files.items():
            if name.startswith("tokenizer/"):
                shutil.copyfile(file, folder / Path(name).name)


def check_model(folder: Path, recipe: Recipe) -> dict[str, Any]:
    """Return the way in which a checkpoint would be fed; see `modelmill.tasks.contract.Training`.

    Args:
        folder: The checkpoint.
        recipe: The recipe.

    Raises:
        UserError: It cannot be trained, or its chat template shows no pair in a form that can be learned.
    """
    settings = recipe.preprocessing
    require_length(folder, settings.sequence_length)
    chats = settings.pairs if settings.needs_chat_template else None
    if chats and recipe.pretraining and settings.given_checkpoint == recipe.pretraining.init:
        framing_of(chats, Encoder(folder), folder, settings.sequence_length)
    return _load(folder, None, settings.sequence_length)[2]


def _load(folder: Path, tokens: int | None, length: int, key: str = INIT) -> tuple[nn.Module, Way, dict[str, Any]]:
    """Return the model in a folder, set up for the way of feeding that is right, that way, and notes on it.

    Args:
        folder: The folder.
        tokens: Size of the tokenizer, if it is not that of the model's vocabulary.
        length: Tokens of a sequence.
        key: The recipe's key that names the weights, for messages.
    """
    device = pick_device()
    model, left_out = checkpoint.load(folder, device, key)
    known = tokens or model.config.get_text_config().vocab_size
    proved = proof.prove(model, known, length, f"{key}: {folder}", device)
    proof.apply(proved.way, model, device)
    log.info("the model is fed as %s; a token's loss differs by %.1g nats", proved.way.words, proved.nats)
    for words, why in proved.tried.items():
        log.debug("not as %s: %s", words, why)
    return model, proved.way, proved.notes() | ({"weights_left_out": left_out} if left_out else {})


make_task = LanguageModeling
