"""A recurrent language model over bytes, trained on windows of streams of documents."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from modelmill.corpus.settings import ONLY
from modelmill.tasks.array_task import ArrayTask
from modelmill.tasks.character_modeling.network import CharacterRNN
from modelmill.tasks.character_modeling.symbols import BOUNDARY
from modelmill.tasks.contract import Batch

IGNORED = -100


class Windows:
    """Windows over the stream of one corpus and split; every symbol of it is a label once.

    A batch has `labels` (int64, (batch, length)), IGNORED after the stream's end, and `symbols` (int64, (batch, warm_up
    + length)): the predecessor of each label, and the symbols before the first of those. Only the document of the first
    label warms up; before its beginning there are BOUNDARY symbols, as in evaluation.
    """

    lengths: np.ndarray | None = None

    def __init__(self, files: dict[str, Path], split: str, corpus: str, length: int, warm_up: int) -> None:
        """Open the stream.

        Args:
            files: The corpus's files by their names in it.
            split: Name of the split.
            corpus: Name of the corpus.
            length: Labels of a window.
            warm_up: Symbols that are read before a window without a gradient.
        """
        names = {kind: files[f"{split}/{corpus}/{kind}.npy"] for kind in ("tokens", "offsets", "ids")}
        loaded = {kind: np.load(file, mmap_mode="r", allow_pickle=False) for kind, file in names.items()}
        self.tokens, self.offsets, self.ids = loaded["tokens"], loaded["offsets"], loaded["ids"]
        self.name = f"{split} split of {corpus}" if corpus != ONLY else f"{split} split"
        self.length = length
        self.warm_up = warm_up
        # BOUNDARY symbols that the network reads before it predicts a document's first byte.
        self.opening = warm_up + 1

    def __len__(self) -> int:
        """Return the number of examples."""
        return -(-len(self.tokens) // self.length)

    def batch(self, indices: np.ndarray) -> Batch:
        """Return tensors on the CPU for the examples with these numbers."""
        first = indices.astype(np.int64)[:, None] * self.length
        places = first + np.arange(-self.warm_up - 1, self.length)
        stream = self.tokens[np.clip(places, 0, len(self.tokens) - 1)].astype(np.int64)
        begins = self.offsets[np.searchsorted(self.offsets, first, side="right") - 1]
        is_known = (places >= begins) & (places < len(self.tokens))
        symbols = np.where(is_known, stream, BOUNDARY)[:, :-1]
        labels = np.where(places < len(self.tokens), stream, IGNORED)[:, self.warm_up + 1 :]
        return {"symbols": torch.from_numpy(symbols), "labels": torch.from_numpy(labels)}

    def documents(self) -> list[np.ndarray]:
        """Return the symbols of each document, BOUNDARY last: uint16."""
        return np.split(self.tokens, self.offsets[1:-1])

    def describe(self, indices: np.ndarray) -> str:
        """Return where these examples come from, for a person: the first few of them."""
        owners = np.searchsorted(self.offsets, indices[:5] * self.length, side="right") - 1
        return f"documents {', '.join(str(owner) for owner in owners.tolist())} of the {self.name}"


class CharacterModeling(ArrayTask):
    """Cross-entropy on the next symbol; see `modelmill.tasks.contract.Task`."""

    mixed_precision = True
    unit: Literal["tokens", "samples"] = "tokens"
    input = "symbols"
    axes: tuple[str, ...] = ("batch", "length")

    def config(self) -> dict[str, Any]:
        """Return the configuration that `network` takes."""
        # Evaluation does not read the recipe's model: whatever was trained is what it measures.
        shape = self.settings.model_dump(exclude={"dropout"}) if self.settings else {}
        return {**shape, "warm_up": self.corpus.info["warm_up"]}

    def network(self, config: dict[str, Any]) -> CharacterRNN:
        """Return the network of a configuration, with random weights."""
        return CharacterRNN(config, self.settings.dropout if self.settings else 0.0)

    def examples(self, stage: str, split: str) -> Windows:
        """Return the examples of a split in a stage; see `Task.examples`."""
        info = self.corpus.info
        corpus = stage if stage in info["corpora"] else ONLY
        return Windows(self.files, split, corpus, info["length"], info["warm_up"])

    def terms(self, batch: Batch) -> int:
        """Return the number of labels."""
        return int((batch["labels"] != IGNORED).sum())

    def loss(self, model: Any, batch: Batch, smoothing: float = 0.0) -> torch.Tensor:
        """Return the summed loss in nats; see `Task.loss`."""
        symbols, labels = batch["symbols"], batch["labels"]
        warm_up = symbols.shape[1] - labels.shape[1]
        with torch.no_grad():
            _, state = model.read(symbols[:, :warm_up])
        logits, _ = model(symbols[:, warm_up:], state)
        return F.cross_entropy(
            logits.flatten(0, 1).float(), labels.flatten(), reduction="sum", label_smoothing=smoothing
        )

    def logits(self, model: nn.Module, values: torch.Tensor) -> torch.Tensor:
        """Return the logits of the symbol after each, (batch, length, SYMBOLS)."""
        logits: torch.Tensor = model(values)[0]
        return logits


make_task = CharacterModeling
