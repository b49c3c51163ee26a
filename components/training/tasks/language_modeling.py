"""A decoder language model on packed token arrays, through `transformers` configurations."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from components.common.errors import UserError
from components.common.manifest import Manifest
from components.common.recipe.language_modeling import DecoderModel
from components.common.weights import TOKENIZER, read_config
from components.training.task import Batch

IGNORED = -100
# What each stage reads of a corpus: documents, or pairs whose responses alone are learned.
SOURCE_OF_STAGE = {"pretraining": "documents", "fine_tuning": "pairs"}


class PackedTokens:
    """Windows of `length` tokens over packed shards; each token is predicted once, from its own document alone.

    A shard is a stream of token ids with the start of every document and, for pairs, a mark on each token that is to
    be learned. A window that runs past its shard is padded; no window crosses shards.

    Batches hold `input_ids`, `position_ids` and `labels` (int64, shape (batch, length)), and `attention_mask`
    (bool, shape (batch, 1, length, length)), true where a query may look.
    """

    def __init__(self, files: dict[str, Path], folder: str, kind: str, length: int) -> None:
        self.length = length
        names = sorted(n for n in files if n.startswith(folder + "/") and n.endswith(f"{kind}.tokens.npy"))
        self.shards = [_Shard(files, name.removesuffix(".tokens.npy"), length) for name in names]
        self.first = np.cumsum([0, *(shard.windows for shard in self.shards)])

    def __len__(self) -> int:
        return int(self.first[-1])

    def batch(self, indices: np.ndarray) -> Batch:
        shards = np.searchsorted(self.first, indices, side="right") - 1
        windows = [
            self.shards[shard].window(int(index - self.first[shard]))
            for shard, index in zip(shards, indices, strict=True)
        ]
        tokens, starts, learned = (torch.from_numpy(np.stack(part)) for part in zip(*windows, strict=True))
        inputs, documents = tokens[:, :-1], starts[:, :-1]
        causal = torch.ones(self.length, self.length, dtype=torch.bool).tril()
        return {
            "input_ids": inputs.contiguous(),
            "position_ids": torch.arange(self.length) - documents,
            "labels": torch.where(learned[:, 1:], tokens[:, 1:], IGNORED),
            "attention_mask": ((documents[:, :, None] == documents[:, None, :]) & causal).unsqueeze(1),
        }


class _Shard:
    """One memory-mapped shard."""

    def __init__(self, files: dict[str, Path], stem: str, length: int) -> None:
        self.length = length
        self.tokens = np.load(files[f"{stem}.tokens.npy"], mmap_mode="r", allow_pickle=False)
        self.offsets = np.load(files[f"{stem}.offsets.npy"], mmap_mode="r", allow_pickle=False)
        learned = files.get(f"{stem}.learned.npy")
        self.learned = np.load(learned, mmap_mode="r", allow_pickle=False) if learned else None
        self.windows = max(0, -(-(len(self.tokens) - 1) // length))

    def window(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tokens (int64), the window position at which each token's document starts (int64) and whether each is
        to be learned (bool); length + 1 of each.
        """
        begin = number * self.length
        tokens = self.tokens[begin : begin + self.length + 1].astype(np.int64)
        positions = np.arange(begin, begin + len(tokens))
        document = np.searchsorted(self.offsets, positions, side="right") - 1
        starts = np.maximum(self.offsets[document].astype(np.int64) - begin, 0)
        learned = np.ones(len(tokens), bool)
        if self.learned is not None:
            learned = self.learned[begin : begin + self.length + 1].astype(bool)
        padding = self.length + 1 - len(tokens)
        # A padded place is its own document, so that its attention sees itself and nothing sees it.
        own = np.arange(len(tokens), self.length + 1)
        return (
            np.pad(tokens, (0, padding)),
            np.concatenate([starts, own]),
            np.pad(learned, (0, padding)),
        )


class LanguageModeling:
    """Next-token prediction; see `Task`."""

    mixed_precision = True

    def __init__(self, corpus: Manifest, files: dict[str, Path], settings: DecoderModel | None) -> None:
        self.corpus = corpus
        self.files = files
        self.settings = settings
        self.length = int(corpus.info["sequence_length"])
        self.vocab_size = int(corpus.info["vocab_size"])

    def examples(self, stage: str, split: str) -> PackedTokens:
        return PackedTokens(self.files, split, SOURCE_OF_STAGE[stage], self.length)

    def build(self) -> nn.Module:
        from transformers import LlamaConfig, LlamaForCausalLM

        assert self.settings is not None
        end = self.corpus.info["end_of_text"]
        config = LlamaConfig(
            vocab_size=self.vocab_size,
            max_position_embeddings=self.length,
            bos_token_id=end,
            eos_token_id=end,
            pad_token_id=None,
            **self.settings.model_dump(exclude={"type"}),
        )
        return LlamaForCausalLM._from_config(config, attn_implementation="sdpa", dtype=torch.float32)

    def load(self, folder: Path) -> nn.Module:
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        logging.disable_progress_bar()
        config = read_config(folder)
        self._check_fits(config, folder)
        try:
            return AutoModelForCausalLM.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                attn_implementation="sdpa",
                dtype=torch.float32,
            )
        except (ValueError, OSError, RuntimeError, KeyError) as error:
            raise UserError(
                f"pretraining.init: {folder}: not a causal language model that transformers loads: {error}"
            ) from error

    def loss(self, model: nn.Module, batch: Batch) -> tuple[torch.Tensor, int]:
        logits, labels = self.logits(model, batch)
        total = F.cross_entropy(logits.float(), labels, reduction="sum")
        return total, len(labels)

    def logits(self, model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (learned tokens, vocabulary) and labels (learned tokens); the rest of the window costs no head."""
        hidden = model.get_decoder()(
            input_ids=batch["input_ids"],
            position_ids=batch["position_ids"],
            attention_mask=batch["attention_mask"],
            use_cache=False,
        ).last_hidden_state
        learned = batch["labels"] != IGNORED
        return model.get_output_embeddings()(hidden[learned]), batch["labels"][learned]

    def save(self, model: Any, folder: Path) -> None:
        model.save_pretrained(folder, safe_serialization=True)
        for name in TOKENIZER:
            shutil.copyfile(self.files[f"tokenizer/{name}"], folder / name)

    def _check_fits(self, config: dict[str, Any], folder: Path) -> None:
        vocabulary = config.get("vocab_size")
        if vocabulary != self.vocab_size:
            raise UserError(
                f"pretraining.init: {folder}: its vocabulary has {vocabulary} tokens, "
                f"the corpus's tokenizer {self.vocab_size}; set preprocessing.tokenizer.from to the same folder"
            )
        longest = config.get("max_position_embeddings")
        if isinstance(longest, int) and longest < self.length:
            raise UserError(
                f"pretraining.init: {folder}: it was made for {longest} positions; "
                f"set preprocessing.sequence_length to {longest} or less, it is {self.length}"
            )
