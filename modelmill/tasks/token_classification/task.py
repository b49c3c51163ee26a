"""A pretrained encoder with a head that gives each word of a text its tag."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from modelmill.corpus.example_shards import ShardedExamples
from modelmill.corpus.text.own_rendering import OwnTokenizer
from modelmill.recipe.sections import INIT
from modelmill.runtime.compatibility import require_length, require_vocabulary
from modelmill.store.manifest import Manifest
from modelmill.tasks.contract import Batch
from modelmill.tasks.pretrained import heads, proof, texts
from modelmill.tasks.pretrained.task import PretrainedTask
from modelmill.tasks.token_classification import bio
from modelmill.tasks.token_classification.recipe import PretrainedTagger, Recipe
from modelmill.training.device import hardware

# Batches are as long as their longest window, rounded up to a multiple: few shapes, and little padding.
ROUNDED_TO = 8
# Label of tokens that are not the first of a word.
IGNORED = -100


class Windows:
    """Windows of the texts of one split; see `preprocess.write_windows`.

    A batch has `input_ids`, `attention_mask` and `labels`, int64, (batch, length).

    Attributes:
        ids: Identity of each window's text: uint64, (windows,).
        lengths: Tokens of each window: int64, (windows,).
        firsts: Number of each window's first word in its text: int32, (windows,).
    """

    def __init__(self, files: dict[str, Path], split: str, padding: int, most: int) -> None:
        """Open the windows of a split.

        Args:
            files: The corpus's files by their names in it.
            split: Name of the split.
            padding: Id of the token that fills up a row.
            most: The most tokens of a window.
        """
        self._held = ShardedExamples(files, split)
        self._padding, self._most = padding, most
        self.split = split
        self.ids = self._held.ids
        self.lengths = self._held.lengths("tokens")
        self.firsts = self._held.numbers("first")

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self._held)

    def batch(self, indices: np.ndarray) -> Batch:
        """Return tensors on the CPU for the windows with these numbers."""
        lengths = self.lengths[indices]
        width = max(int(lengths.max()), min(-(-int(lengths.max()) // ROUNDED_TO) * ROUNDED_TO, self._most))
        tokens = np.full((len(indices), width), self._padding, np.int64)
        labels = np.full((len(indices), width), IGNORED, np.int64)
        for row, number in enumerate(indices.tolist()):
            tokens[row, : lengths[row]] = self._held.get("tokens", number)
            places, has_place = self.places(number), self.places(number) >= 0
            labels[row, places[has_place]] = self.tags(number)[has_place]
        mask = np.arange(width) < lengths[:, None]
        arrays = {"input_ids": tokens, "attention_mask": mask.astype(np.int64), "labels": labels}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def describe(self, indices: np.ndarray) -> str:
        """Return the beginnings of the first few texts."""
        shown = (" ".join(self.words(number)[:8]) for number in indices[:3].tolist())
        return f"texts of the {self.split} split: {'; '.join(shown)}"

    def places(self, number: int) -> np.ndarray:
        """Return the place of the first token of each word, -1 where it has none: int32, (words,)."""
        return self._held.get("places", number)

    def tags(self, number: int) -> np.ndarray:
        """Return the number of each word's tag: int16, (words,)."""
        return self._held.get("tags", number)

    def words(self, number: int) -> list[str]:
        """Return the words."""
        words: list[str] = json.loads(self._held.get("words", number).tobytes())
        return words


class TokenClassification(PretrainedTask):
    """An encoder with a head for tags; see `modelmill.tasks.contract.Task`. The loss is per word."""

    unit: Literal["tokens", "samples"] = "tokens"
    head = PretrainedTagger.heads[0]

    def __init__(self, corpus: Manifest, files: dict[str, Path], settings: Any) -> None:
        """Take what a corpus says of the model; see `PretrainedTask`."""
        super().__init__(corpus, files, settings)
        self.classes: list[str] = corpus.info["classes"]
        self.words: str = corpus.info["words"]
        self.length = int(corpus.info["sequence_length"])
        self.padding = int(corpus.info["special"]["padding"])

    def labels_of_head(self) -> list[str]:
        """Return the tags."""
        return self.classes

    def overrides(self) -> dict[str, Any]:
        """Return what serving has to know."""
        return {"pad_token_id": self.padding, "sequence_length": self.length, "word_splitting": self.words}

    def check(self, folder: Path) -> None:
        """Check that weights fit the corpus; see `PretrainedTask.check`.

        Raises:
            UserError: They are of another architecture, have fewer positions, or have learned other tokens.
        """
        super().check(folder)
        require_length(folder, self.length, self.key)
        require_vocabulary(folder, self.files["checkpoint/tokenizer.json"], self.key)

    def examples(self, stage: str, split: str) -> Windows:
        """Return the windows of a split; see `Task.examples`."""
        return Windows(self.files, split, self.padding, self.length)

    def terms(self, batch: Batch) -> int:
        """Return the number of words."""
        return int((batch["labels"] != IGNORED).sum())

    def loss(self, model: nn.Module, batch: Batch, smoothing: float = 0.0) -> torch.Tensor:
        """Return the summed loss in nats; see `Task.loss`."""
        logits = self.logits_of(model, batch).float().flatten(0, 1)
        return F.cross_entropy(
            logits, batch["labels"].flatten(), ignore_index=IGNORED, reduction="sum", label_smoothing=smoothing
        )

    def logits(self, model: nn.Module, values: torch.Tensor) -> torch.Tensor:
        """Return the logits of the tags, (batch, length, tags)."""
        return self.logits_of(model, {"input_ids": values, "attention_mask": (values != self.padding).long()})

    def logits_of(self, model: Any, batch: Batch) -> torch.Tensor:
        """Return the logits of the tags of a batch's tokens, (batch, length, tags)."""
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        if self.way.padded:
            logits: torch.Tensor = model(**inputs).logits
            return logits
        width, lengths = inputs["input_ids"].shape[1], inputs["attention_mask"].sum(1)

        def call(some: Batch) -> torch.Tensor:
            return F.pad(model(**some).logits, (0, 0, 0, width - some["input_ids"].shape[1]))

        return proof.apart(inputs, lengths.cpu(), call)

    def made_up(self, model: Any) -> tuple[Batch, Sequence[Batch]]:
        """Return made-up texts, and one as long as the recipe allows; see `PretrainedTask.made_up`."""
        return texts.made_up(OwnTokenizer(self.checkpoint, self.length), False, next(model.parameters()).device)

    def outputs(self, model: Any, batch: Batch) -> list[torch.Tensor]:
        """Return the logits of each text's tokens."""
        return outputs(model, batch)


def outputs(model: Any, batch: Batch) -> list[torch.Tensor]:
    """Return the logits of the tokens of each text of a batch, (tokens, tags), without those of padding.

    Args:
        model: The model.
        batch: The batch.
    """
    lengths = batch["attention_mask"].sum(1).tolist()
    return [one[:length] for one, length in zip(model(**batch).logits, lengths, strict=True)]


def check_model(folder: Path, recipe: Recipe) -> dict[str, Any]:
    """Return what is known of a checkpoint before training: how it would be fed, and what becomes of its head.

    Args:
        folder: The checkpoint.
        recipe: The recipe.

    Raises:
        UserError: It cannot be trained.
    """
    settings, device, where = recipe.preprocessing, hardware.pick_device(), f"{INIT}: {folder}"
    own, together, alone = texts.of_checkpoint(where, folder, settings.sequence_length, device)
    labels = bio.classes(settings.entities or ("unknown",))
    loaded = heads.load(folder, TokenClassification.head, labels, device, pad_token_id=own.padding)
    proved = proof.prove(loaded.model, together, alone, outputs, where)
    return proved.notes() | (loaded.notes() if settings.entities else {})


make_task = TokenClassification
