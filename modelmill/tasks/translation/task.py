"""An mBART: pretraining restores texts of both languages, fine-tuning translates."""

import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from modelmill.core.errors import UserError
from modelmill.corpus.example_shards import ShardedExamples
from modelmill.models.keyed_random import drawn
from modelmill.recipe.pretrained import AUTO
from modelmill.runtime.compatibility import require_length, require_vocabulary
from modelmill.store.manifest import Manifest
from modelmill.tasks.array_task import ArrayTask, described
from modelmill.tasks.contract import Batch, Task
from modelmill.tasks.translation import noise
from modelmill.tasks.translation.recipe import Recipe
from modelmill.tasks.translation.sides import SIDES

IGNORED = -100
# Batches are as long as their longest text, rounded up to a multiple: few shapes, and little padding.
ROUNDED_TO = 4


class Pairs:
    """Pairs of one split; in pretraining their texts, each by itself.

    A batch has `input_ids`, int64, (batch, source length), the texts to read; `labels`, int64, (batch, target length),
    IGNORED after the text's end; `language`, int64, (batch,), the token that tells the decoder which language to write;
    and in pretraining `keys`, int64, (batch,), which fix the spans that validation hides.
    """

    lengths: np.ndarray

    def __init__(self, files: dict[str, Path], split: str, stage: str, special: dict[str, int], most: int) -> None:
        """Open the examples of a split.

        Args:
            files: The corpus's files by their names in it.
            split: Name of the split.
            stage: `pretraining` or `fine_tuning`, which has the paired rows alone.
            special: Ids of special tokens by role.
            most: The most tokens of a text.
        """
        self.split, self.stage, self.special, self.most = split, stage, special, most
        self.examples = ShardedExamples(files, split)
        paired = self.examples.numbers("paired")
        self.rows = np.arange(len(paired)) if stage == "pretraining" else np.flatnonzero(paired)
        self.ids = self.examples.ids[self.rows]
        sides = [self.examples.lengths(side)[self.rows] for side in SIDES]
        self.lengths = np.concatenate(sides) if stage == "pretraining" else sides[0] + sides[1]

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.rows) * (2 if self.stage == "pretraining" else 1)

    def batch(self, indices: np.ndarray) -> Batch:
        """Return tensors on the CPU for the examples with these numbers."""
        rows = self.rows[indices % len(self.rows)]
        if self.stage != "pretraining":
            read, written = (self._padded([side] * len(rows), rows) for side in SIDES)
            return self._batch(read, written, np.ones(len(rows), bool))
        is_target = indices >= len(self.rows)
        texts = self._padded([SIDES[one] for one in is_target.astype(int).tolist()], rows)
        keys = self.ids[indices % len(self.rows)] ^ is_target.astype(np.uint64)
        batch = self._batch(texts, texts, is_target)
        return batch | {"keys": torch.from_numpy(keys.view(np.int64))}

    def texts(self, side: str, indices: np.ndarray) -> list[str]:
        """Return the texts of one side, as they were before they became tokens, of the pairs with these numbers."""
        return [self.examples.text(f"{side}_text", row) for row in self.rows[indices].tolist()]

    def describe(self, indices: np.ndarray) -> str:
        """Return where these examples come from, for a person: the first few of them."""
        return described(indices, self.split)

    def _padded(self, sides: list[str], rows: np.ndarray) -> np.ndarray:
        """Return the tokens of texts, each of its side: int64, (rows, longest)."""
        texts = [self.examples.get(side, row) for side, row in zip(sides, rows.tolist(), strict=True)]
        width = min(-(-max(map(len, texts)) // ROUNDED_TO) * ROUNDED_TO, self.most)
        tokens = np.full((len(texts), width), self.special["padding"], np.int64)
        for row, text in zip(tokens, texts, strict=True):
            row[: len(text)] = text
        return tokens

    def _batch(self, read: np.ndarray, written: np.ndarray, is_target: np.ndarray) -> Batch:
        labels = np.where(written == self.special["padding"], IGNORED, written)
        languages = np.where(is_target, self.special["target"], self.special["source"])
        arrays = {"input_ids": read, "labels": labels, "language": languages}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


class Translation(ArrayTask):
    """Cross-entropy on each token of the written text; see `modelmill.tasks.contract.Task`."""

    mixed_precision = True
    unit: Literal["tokens", "samples"] = "samples"
    input = "input_ids"
    axes: tuple[str, ...] = ("batch", "length")

    @property
    def special(self) -> dict[str, int]:
        """Ids of special tokens by role."""
        special: dict[str, int] = self.corpus.info["special"]
        return special

    def config(self) -> dict[str, Any]:
        """Return the settings of `MBartConfig`."""
        special, shape = self.special, self.settings
        told = {
            "vocab_size": self.corpus.info["vocab_size"],
            "max_position_embeddings": self.corpus.info["sequence_length"],
            "pad_token_id": special["padding"],
            "bos_token_id": special["end"],
            "eos_token_id": special["end"],
            "decoder_start_token_id": special["target"],
            "forced_eos_token_id": None,
        }
        if shape is None:  # evaluation does not read the recipe's model: whatever was trained is what it measures
            return told
        both = {"layers": shape.layers, "attention_heads": shape.attention_heads, "ffn_dim": shape.ffn_dim}
        halves = {f"{half}_{name}": value for half in ("encoder", "decoder") for name, value in both.items()}
        return told | halves | {"d_model": shape.d_model, "scale_embedding": True}

    def network(self, config: dict[str, Any]) -> nn.Module:
        """Return the network of a configuration, with random weights."""
        from transformers import MBartConfig, MBartForConditionalGeneration

        made = MBartConfig(**config, **self._dropout())
        model: nn.Module = MBartForConditionalGeneration._from_config(
            made, attn_implementation="sdpa", dtype=torch.float32
        )
        return model

    def load(self, folder: Path) -> nn.Module:
        """Return the model in a folder; see `Task.load`.

        Raises:
            UserError: The weights do not fit the recipe or the corpus.
        """
        from transformers import MBartConfig, MBartForConditionalGeneration

        require_length(folder, int(self.corpus.info["sequence_length"]))
        require_vocabulary(folder, self.files["tokenizer/tokenizer.json"])
        try:
            config = MBartConfig.from_pretrained(folder, local_files_only=True, **self._dropout())
            wanted = self.config()
            if different := [name for name, value in wanted.items() if getattr(config, name, None) != value]:
                name = different[0]
                raise UserError(
                    f"pretraining.init: {folder}: its {name} is {getattr(config, name, None)}, the recipe and the "
                    f"corpus want {wanted[name]}"
                )
            model: nn.Module = MBartForConditionalGeneration.from_pretrained(
                folder,
                config=config,
                local_files_only=True,
                use_safetensors=True,
                attn_implementation="sdpa",
                dtype=torch.float32,
            )
        except (ValueError, OSError, RuntimeError, KeyError) as error:
            raise UserError(f"pretraining.init: {folder}: not an mBART that transformers loads: {error}") from error
        return model

    def examples(self, stage: str, split: str) -> Pairs:
        """Return the examples of a split in a stage; see `Task.examples`."""
        return Pairs(self.files, split, stage, self.special, self.corpus.info["sequence_length"])

    def blocks(self, model: Any) -> list[nn.Module]:
        """Return the hidden blocks in order."""
        return [*model.model.encoder.layers, *model.model.decoder.layers]

    def terms(self, batch: Batch) -> int:
        """Return the number of tokens to write."""
        return int((batch["labels"] != IGNORED).sum())

    def loss(self, model: Any, batch: Batch, smoothing: float = 0.0) -> torch.Tensor:
        """Return the summed loss in nats; see `Task.loss`."""
        labels = batch["labels"]
        logits = self.written(model, batch)
        return F.cross_entropy(
            logits.flatten(0, 1).float(), labels.flatten(), reduction="sum", label_smoothing=smoothing
        )

    def written(self, model: Any, batch: Batch) -> torch.Tensor:
        """Return the logits of each label after those before it, (batch, target length, vocabulary)."""
        read = batch["input_ids"]
        if "keys" in batch:
            read = self._disturbed(read, batch["keys"], model.training)
        padding = self.special["padding"]
        before = batch["labels"][:, :-1].masked_fill(batch["labels"][:, :-1] == IGNORED, padding)
        given = torch.cat([batch["language"][:, None], before], dim=1)
        logits: torch.Tensor = model(
            input_ids=read, attention_mask=(read != padding).long(), decoder_input_ids=given, use_cache=False
        ).logits
        return logits

    def logits(self, model: nn.Module, values: torch.Tensor) -> torch.Tensor:
        """Return the logits of the first token of each translation, (batch, vocabulary)."""
        first = torch.full((len(values), 1), self.special["target"], device=values.device)
        mask = (values != self.special["padding"]).long()
        logits: torch.Tensor = model(input_ids=values, attention_mask=mask, decoder_input_ids=first).logits[:, 0]
        return logits

    def save(self, model: Any, folder: Path) -> None:
        """Write the model into an empty folder; see `Task.save`."""
        model.save_pretrained(folder, safe_serialization=True)
        for name, file in self.files.items():
            if name.startswith("tokenizer/"):
                shutil.copyfile(file, folder / Path(name).name)

    def _disturbed(self, tokens: torch.Tensor, keys: torch.Tensor, is_training: bool) -> torch.Tensor:
        draws = drawn(keys, tokens.shape[1])
        if is_training:
            draws = torch.rand(draws.shape, device=tokens.device)
        special = self.special
        return noise.infill(tokens, draws, self.settings.infilled, special["mask"], special["end"], special["padding"])

    def _dropout(self) -> dict[str, float]:
        rate = self.settings.dropout if self.settings else 0.0
        return {"dropout": rate, "attention_dropout": rate}


def make_task(corpus: Manifest, files: dict[str, Path], settings: Any) -> Task:
    """Return the task over a corpus; see `modelmill.tasks.contract.TaskPart`."""
    if corpus.info.get("model") == AUTO:
        from modelmill.tasks.translation.pretrained import PretrainedTranslation

        return PretrainedTranslation(corpus, files, settings)
    return Translation(corpus, files, settings)


def check_model(folder: Path, recipe: Recipe) -> dict[str, Any]:
    """Return how a checkpoint would be fed; see `modelmill.tasks.contract.Training`.

    Args:
        folder: The checkpoint.
        recipe: The recipe.

    Raises:
        UserError: It cannot be trained.
    """
    if recipe.model.type != AUTO:
        return {}
    from modelmill.tasks.translation import pretrained

    return pretrained.check(folder, recipe)
