"""The texts of a split as training reads them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from modelmill.corpus.example_shards import ShardedExamples
from modelmill.tasks.array_task import described
from modelmill.tasks.contract import Batch
from modelmill.tasks.text_classification.kinds import is_labelled
from modelmill.tasks.text_classification.losses import targets

# Batches are as long as their longest text, rounded up to a multiple: few shapes, and little padding.
ROUNDED_TO = 8


class Texts:
    """Texts of one split.

    A batch has `input_ids` and `attention_mask` and, where the model takes them, `token_type_ids`, int64,
    (batch, length). In fine-tuning it has `labels` as `losses.loss` takes them, and else `keys`, int64, (batch,), which
    fix the tokens that validation hides.
    """

    lengths: np.ndarray

    def __init__(
        self,
        files: dict[str, Path],
        split: str,
        stage: str,
        padding: int,
        most: int,
        scale: tuple[float, float] | None = None,
    ) -> None:
        """Open the examples of a split.

        Args:
            files: The corpus's files by their names in it.
            split: Name of the split.
            stage: `pretraining` or `fine_tuning`, which has the labelled texts alone.
            padding: Id of the token that fills up a row.
            most: The most tokens of a row.
            scale: Mean and standard deviation of labels that are numbers.
        """
        self.split, self.stage, self.padding, self.most, self.scale = split, stage, padding, most, scale
        self.examples = ShardedExamples(files, split)
        labels = np.load(files[f"{split}/labels.npy"], mmap_mode="r", allow_pickle=False)
        is_wanted = is_labelled(labels) if stage == "fine_tuning" else np.ones(len(labels), bool)
        self.rows = np.flatnonzero(is_wanted)
        self.ids, self.labels = self.examples.ids[self.rows], labels[self.rows]
        self.lengths = self.examples.lengths("tokens")[self.rows]

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.rows)

    def batch(self, indices: np.ndarray) -> Batch:
        """Return tensors on the CPU for the examples with these numbers."""
        tokens = self._padded("tokens", indices, self.padding)
        batch = {"input_ids": tokens, "attention_mask": (tokens != self.padding).long()}
        if self.examples.has("types"):
            batch["token_type_ids"] = self._padded("types", indices, 0)
        if self.stage == "fine_tuning":
            return batch | {"labels": targets(self.labels[indices], self.scale)}
        return batch | {"keys": torch.from_numpy(self.ids[indices].view(np.int64))}

    def text(self, index: int) -> Any:
        """Return a text, or a pair of texts, as it was before it became tokens."""
        names = [name for name in ("text", "text_pair") if self.examples.has(name)]
        found = tuple(self.examples.text(name, int(self.rows[index])) for name in names)
        return found[0] if len(found) == 1 else found

    def describe(self, indices: np.ndarray) -> str:
        """Return where these examples come from, for a person: the first few of them."""
        return described(indices, self.split)

    def _padded(self, name: str, indices: np.ndarray, filler: int) -> torch.Tensor:
        longest = int(self.lengths[indices].max())
        width = max(longest, min(-(-longest // ROUNDED_TO) * ROUNDED_TO, self.most))
        rows = torch.full((len(indices), width), filler)
        for row, number in zip(rows.numpy(), self.rows[indices].tolist(), strict=True):
            values = self.examples.get(name, number)
            row[: len(values)] = values
        return rows
