"""A decoder language model on packed token arrays, through `transformers` configurations."""

import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from modelmill.core.errors import UserError
from modelmill.models import attention, document_attention
from modelmill.models.cross_entropy import IGNORED, ROWS_AT_ONCE, LinearCrossEntropy
from modelmill.runtime.compatibility import require_length, require_vocabulary
from modelmill.store.manifest import Manifest
from modelmill.tasks.contract import Batch
from modelmill.tasks.language_modeling.recipe import DecoderModel
from modelmill.training.device import formats
from modelmill.training.device.hardware import pick_device

# The share of learned tokens in a batch below which the head is applied to those alone.
SPARSE = 0.75
ROWS_SCORED_AT_ONCE = 1024
# Places for `boundaries`, by example. Few, as each makes a shape that is compiled by itself, which takes 20 s.
BOUNDARIES = (4, 16, 64)
# The part of a corpus that each stage reads: documents, or pairs, of which responses alone are learned.
SOURCE_OF_STAGE = {"pretraining": "documents", "fine_tuning": "pairs"}


class PackedTokens:
    """Windows of `length` tokens over packed shards; each token is predicted once, from its own document alone.

    A shard is a stream of token ids with the start of every document and, for pairs, a mark on each token to learn. A
    window that runs past its shard is padded; no window crosses shards.

    A batch has `input_ids` and `labels`, int64, (batch, length), and may have:

    - `position_ids`, int64, (batch, length), counted from each document's start, unless every window of the split is
      of one document: a batch with and one without are each compiled by themselves;
    - `boundaries`, int32, one-dimensional, unless they are very many: the start of each document in the flat batch, and
      the end of the last;
    - `learned`, int64, one-dimensional, if they are few: the flat places of the labels.
    """

    lengths: np.ndarray | None = None

    def __init__(self, files: dict[str, Path], folder: str, kind: str, length: int) -> None:
        """Open the shards of a split.

        Args:
            files: The corpus's files by their names in it.
            folder: Folder of the split.
            kind: `documents` or `pairs`.
            length: Tokens of a window.
        """
        self.length = length
        names = sorted(n for n in files if n.startswith(folder + "/") and n.endswith(f"{kind}.tokens.npy"))
        self.shards = [_Shard(files, name.removesuffix(".tokens.npy"), length) for name in names]
        self.first = np.cumsum([0, *(shard.windows for shard in self.shards)])
        self._has_several_documents = any(shard.has_several_documents for shard in self.shards)

    def __len__(self) -> int:
        """Return the number of examples."""
        return int(self.first[-1])

    def batch(self, indices: np.ndarray) -> Batch:
        """Return tensors on the CPU for the examples with these numbers."""
        shards = np.searchsorted(self.first, indices, side="right") - 1
        windows = [
            self.shards[shard].window(int(index - self.first[shard]))
            for shard, index in zip(shards, indices, strict=True)
        ]
        tokens, starts, learned, filled = (torch.from_numpy(np.stack(part)) for part in zip(*windows, strict=True))
        labels = torch.where(learned[:, 1:], tokens[:, 1:], IGNORED)
        batch = {"input_ids": tokens[:, :-1].contiguous(), "labels": labels}
        if self._has_several_documents:
            batch["position_ids"] = torch.arange(self.length) - starts[:, :-1]
            if (boundaries := _boundaries(batch["position_ids"], filled)) is not None:
                batch["boundaries"] = boundaries
        if (few := _few(labels.flatten())) is not None:
            batch["learned"] = few
        return batch

    def documents(self, indices: np.ndarray) -> np.ndarray:
        """Return the number within the split of each label's document, or pair: int64, (batch, length).

        Padding after the last document has the number of that document.

        Args:
            indices: Numbers of the windows.
        """
        shards = np.searchsorted(self.first, indices, side="right") - 1
        before = np.cumsum([0, *(shard.documents for shard in self.shards)])
        return np.stack(
            [
                before[shard] + self.shards[shard].owners(int(index - self.first[shard]))
                for shard, index in zip(shards, indices, strict=True)
            ]
        )

    def describe(self, indices: np.ndarray) -> str:
        """Return where these windows come from, for a person: the first few of them."""
        shards = np.searchsorted(self.first, indices, side="right") - 1
        windows = [f"{self.shards[s].stem} window {i - self.first[s]}" for s, i in zip(shards, indices, strict=True)]
        more = f" and {len(windows) - 3} more" if len(windows) > 3 else ""
        return ", ".join(windows[:3]) + more


def _boundaries(positions: torch.Tensor, filled: torch.Tensor) -> torch.Tensor | None:
    """Return where documents begin in a flat batch; the padding of a window counts as one document.

    The places are padded with the batch's end to one of few lengths, because each length is compiled by itself. The
    result is None for so many documents that there would be too many lengths.

    Args:
        positions: Position of each place in its document, int64, (batch, length).
        filled: The places of each window that are not padding, int64, (batch,).
    """
    begins = positions == 0
    begins &= torch.arange(positions.shape[1]) <= filled.unsqueeze(1)
    places = torch.nonzero(begins.flatten()).flatten()
    for places_each in BOUNDARIES:
        room = len(positions) * places_each
        if len(places) < room:
            return F.pad(places, (0, room - len(places)), value=positions.numel()).int()
    return None


def _few(labels: torch.Tensor) -> torch.Tensor | None:
    """Return the places of the labels that count; None if they are most of the places.

    They are padded with the place of an ignored label to a length that is compiled.
    """
    places = torch.nonzero(labels != IGNORED).flatten()
    size = -(-max(1, len(places)) // ROWS_AT_ONCE) * ROWS_AT_ONCE
    if size > SPARSE * len(labels):
        return None
    ignored = torch.nonzero(labels == IGNORED)[0]
    return torch.cat([places, ignored.expand(size - len(places))])


class _Shard:
    """One memory-mapped shard."""

    def __init__(self, files: dict[str, Path], stem: str, length: int) -> None:
        self.stem = stem
        self.length = length
        self.tokens = np.load(files[f"{stem}.tokens.npy"], mmap_mode="r", allow_pickle=False)
        self.offsets = np.load(files[f"{stem}.offsets.npy"], mmap_mode="r", allow_pickle=False)
        learned = files.get(f"{stem}.learned.npy")
        self.learned = np.load(learned, mmap_mode="r", allow_pickle=False) if learned else None
        self.windows = max(0, -(-(len(self.tokens) - 1) // length))
        self.documents = len(self.offsets) - 1
        self.has_several_documents = bool((self.offsets[1:-1] % length).any())

    def owners(self, number: int) -> np.ndarray:
        """Return the document that each label of a window belongs to, int64, (length,).

        It is that of the token before the label, so that a document's end is its own.
        """
        positions = number * self.length + np.arange(self.length)
        return np.clip(np.searchsorted(self.offsets, positions, side="right") - 1, 0, self.documents - 1)

    def window(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """Return a window's tokens, the starts of their documents, which are learned, and how many are not padding.

        Tokens and starts, which are positions in the window, are int64, and the marks of learned tokens are bool, each
        (length + 1,).
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
        # A padded place is a document by itself: it attends to itself alone, and no other place attends to it.
        own = np.arange(len(tokens), self.length + 1)
        return (
            np.pad(tokens, (0, padding)),
            np.concatenate([starts, own]),
            np.pad(learned, (0, padding)),
            len(tokens),
        )


class LanguageModeling:
    """Next-token prediction; see `modelmill.tasks.contract.Task`."""

    mixed_precision = True
    keeps_files = True
    unit: Literal["tokens", "samples"] = "tokens"
    input = "input_ids"
    axes: tuple[str, ...] = ("batch", "length")
    stage = ""

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

    def examples(self, stage: str, split: str) -> PackedTokens:
        """Return the examples of a split in a stage; see `Task.examples`."""
        return PackedTokens(self.files, split, SOURCE_OF_STAGE[stage], self.length)

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
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        logging.disable_progress_bar()
        require_length(folder, self.length)
        require_vocabulary(folder, self.files["tokenizer/tokenizer.json"])
        try:
            return AutoModelForCausalLM.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                attn_implementation=attention.implementation(pick_device()),
                dtype=formats.in_memory(formats.came_in(folder), pick_device()),
            )
        except (ValueError, OSError, RuntimeError, KeyError) as error:
            raise UserError(
                f"pretraining.init: {folder}: not a causal language model that transformers loads: {error}"
            ) from error

    def blocks(self, model: Any) -> list[nn.Module]:
        """Return the hidden blocks in order."""
        kinds = set(model._no_split_modules or ())
        return [module for module in model.modules() if type(module).__name__ in kinds]

    def compilable(self, model: nn.Module) -> list[nn.Module]:
        """Return the modules that are worth compiling."""
        return [*self.blocks(model), self.cross_entropy.score]

    def terms(self, batch: Batch) -> int:
        """Return the number of labels that count."""
        return int((batch["labels"] != IGNORED).sum())

    def loss(self, model: Any, batch: Batch, smoothing: float = 0.0) -> torch.Tensor:
        """Return the summed loss in nats; see `Task.loss`."""
        labels = _chosen(batch["labels"].flatten(), batch)
        if not _has_plain_head(model):
            logits = _chosen(model(**_inputs(model, batch)).logits.flatten(0, 1), batch)
            return F.cross_entropy(logits.float(), labels, reduction="sum", label_smoothing=smoothing)
        hidden = _chosen(self.hidden(model, batch).flatten(0, 1), batch)
        total: torch.Tensor = self.cross_entropy(hidden, model.get_output_embeddings().weight, labels, smoothing)
        return total

    @torch.no_grad()
    def losses(self, model: Any, batch: Batch) -> torch.Tensor:
        """Return the loss of each label in nats, 0 where it does not count: fp32, (batch, length)."""
        labels = batch["labels"].flatten()
        places = torch.nonzero(labels != IGNORED).flatten()
        if _has_plain_head(model):
            rows, head = self.hidden(model, batch).flatten(0, 1), model.get_output_embeddings()
        else:
            rows, head = model(**_inputs(model, batch)).logits.flatten(0, 1), nn.Identity()
        losses = torch.zeros(len(labels), dtype=torch.float32, device=labels.device)
        for few in places.split(ROWS_SCORED_AT_ONCE):
            losses[few] = F.cross_entropy(head(rows[few]).float(), labels[few], reduction="none")
        return losses.view_as(batch["labels"])

    def hidden(self, model: Any, batch: Batch) -> torch.Tensor:
        """Return the decoder's last hidden states, (batch, length, width)."""
        hidden: torch.Tensor = model.get_decoder()(**_inputs(model, batch)).last_hidden_state
        return hidden

    def logits(self, model: nn.Module, values: torch.Tensor) -> torch.Tensor:
        """Return the logits of the token after each, (batch, length, vocabulary)."""
        logits: torch.Tensor = model(input_ids=values, use_cache=False).logits
        return logits

    def save(self, model: Any, folder: Path) -> None:
        """Write the model into an empty folder; see `Task.save`."""
        model.save_pretrained(folder, safe_serialization=True)
        for name, file in self.files.items():
            if name.startswith("tokenizer/"):
                shutil.copyfile(file, folder / Path(name).name)


def _inputs(model: Any, batch: Batch) -> dict[str, Any]:
    """Return the arguments of a decoder: no token attends to another document, or to a later token."""
    inputs: dict[str, Any] = {"input_ids": batch["input_ids"], "use_cache": False}
    positions = batch.get("position_ids")
    if positions is None:
        return inputs
    inputs["position_ids"] = positions
    if model.config._attn_implementation == document_attention.NAME and "boundaries" in batch:
        # transformers passes a mask on unchanged if it has four dimensions.
        return inputs | {"attention_mask": batch["boundaries"].view(1, 1, 1, -1)}
    places = torch.arange(positions.shape[1], device=positions.device)
    starts = places - positions
    same = (starts[:, :, None] == starts[:, None, :]) & (places[:, None] >= places[None, :])
    return inputs | {"attention_mask": same.unsqueeze(1)}


def _chosen(rows: torch.Tensor, batch: Batch) -> torch.Tensor:
    return rows.index_select(0, batch["learned"]) if "learned" in batch else rows


def _has_plain_head(model: Any) -> bool:
    """Return whether logits are the hidden states times the head's weight and nothing else."""
    head = model.get_output_embeddings()
    changes = ("final_logit_softcapping", "logits_scaling", "logit_scale")
    return type(head) is nn.Linear and head.bias is None and not any(getattr(model.config, k, None) for k in changes)


make_task = LanguageModeling
