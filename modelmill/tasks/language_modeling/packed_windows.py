"""Windows of packed token arrays, with what is learned in them and where documents begin."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from modelmill.models.cross_entropy import IGNORED, ROWS_AT_ONCE
from modelmill.tasks.contract import Batch

# The share of learned tokens in a batch below which the head is applied to those alone.
SPARSE = 0.75
# Places for `boundaries`, by example. Few, as each makes a shape that is compiled by itself, which takes 20 s.
BOUNDARIES = (4, 16, 64)


class PackedTokens:
    """Windows of `length` tokens over packed shards; each token is predicted once, from its own document alone.

    A shard is a stream of token ids with the start of every document and, for pairs, a mark on each token to learn. A
    window that runs past its shard is padded; no window crosses shards.

    A batch has `input_ids` and `labels`, int64, (batch, length), and may have:

    - `position_ids`, int64, (batch, length), counted from each document's start, unless every window of the split is
      of one document: a batch with and one without are each compiled by themselves;
    - `boundaries`, int32, one-dimensional, unless they are very many: the start of each document in the flat batch, and
      the end of the last;
    - `learned`, int64, one-dimensional, if they are few: the flat places of the labels;
    - `weights`, fp32, (batch, length), where some labels count more or less than others: how much each counts.
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
        self._is_weighted = any(shard.weights is not None for shard in self.shards)
        self._has_several_documents = any(shard.has_several_documents for shard in self.shards)

    def __len__(self) -> int:
        """Return the number of examples."""
        return int(self.first[-1])

    def batch(self, indices: np.ndarray) -> Batch:
        """Return tensors on the CPU for the examples with these numbers."""
        shards = np.searchsorted(self.first, indices, side="right") - 1
        places = [(self.shards[s], int(index - self.first[s])) for s, index in zip(shards, indices, strict=True)]
        windows = [shard.window(number) for shard, number in places]
        tokens, starts, learned, filled = (torch.from_numpy(np.stack(part)) for part in zip(*windows, strict=True))
        labels = torch.where(learned[:, 1:], tokens[:, 1:], IGNORED)
        batch = {"input_ids": tokens[:, :-1].contiguous(), "labels": labels}
        if self._has_several_documents:
            batch["position_ids"] = torch.arange(self.length) - starts[:, :-1]
            if (boundaries := boundaries_of(batch["position_ids"], filled)) is not None:
                batch["boundaries"] = boundaries
        if self._is_weighted:
            weights = np.stack([shard.weights_of(number) for shard, number in places])
            batch["weights"] = torch.from_numpy(weights)[:, 1:].contiguous()
        if (few := few_places(labels.flatten())) is not None:
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


def boundaries_of(positions: torch.Tensor, filled: torch.Tensor) -> torch.Tensor | None:
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


def few_places(labels: torch.Tensor) -> torch.Tensor | None:
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
        weights = files.get(f"{stem}.weights.npy")
        self.weights = np.load(weights, mmap_mode="r", allow_pickle=False) if weights else None
        self.windows = max(0, -(-(len(self.tokens) - 1) // length))
        self.documents = len(self.offsets) - 1
        self.has_several_documents = bool((self.offsets[1:-1] % length).any())

    def owners(self, number: int) -> np.ndarray:
        """Return the document that each label of a window belongs to, int64, (length,).

        It is that of the token before the label, so that a document's end is its own.
        """
        positions = number * self.length + np.arange(self.length)
        return np.clip(np.searchsorted(self.offsets, positions, side="right") - 1, 0, self.documents - 1)

    def weights_of(self, number: int) -> np.ndarray:
        """Return how much each token of a window counts in the loss, fp32, (length + 1,)."""
        begin = number * self.length
        source = self.learned if self.weights is None else self.weights
        assert source is not None
        weights = source[begin : begin + self.length + 1].astype(np.float32)
        return np.pad(weights, (0, self.length + 1 - len(weights)))

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
