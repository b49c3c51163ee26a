"""Windows taken apart into their documents, one a row, and put together again.

A network that carries a state from token to token has no mask to keep documents apart. Rows end in padding, which no
real token can see: the network is causal.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import distributed

from modelmill.models.cross_entropy import IGNORED
from modelmill.tasks.contract import Batch

# The shortest padded row. The others are twice as long each, up to the window: few shapes, and less than half padding.
SHORTEST = 16


class Rows(NamedTuple):
    """The rows of a batch.

    Attributes:
        places: For each length of rows, the flat place in the batch of each of their tokens, int64, (rows, length).
        back: For each flat place of the batch, its token among all rows' tokens end to end, int64; 0 for a place
            that no row holds.
    """

    places: list[torch.Tensor]
    back: torch.Tensor


def split(batch: Batch, *, padded: bool) -> Rows:
    """Return a batch's documents as rows, without those that nothing is learned of.

    Padding repeats a document's last token.

    Args:
        batch: `labels` and, unless every window is of one document, `position_ids`.
        padded: Whether rows are padded to few lengths; else rows of one length are together, however many lengths
            there are.
    """
    labels = batch["labels"].cpu().numpy()
    size, length = labels.size, labels.shape[1]
    positions = batch["position_ids"].cpu().numpy() if "position_ids" in batch else np.arange(size) % length
    begins = np.flatnonzero(positions.ravel() == 0)
    ends = np.append(begins[1:], size)
    learned = np.append(0, np.cumsum(labels.ravel() != IGNORED))
    is_learned = learned[ends] > learned[begins]
    is_learned[0] |= not is_learned.any()
    begins, ends = begins[is_learned], ends[is_learned]
    lengths = _padded(ends - begins, length) if padded else ends - begins

    places, back, before = [], np.zeros(size, np.int64), 0
    for one in _lengths(length) if padded and _are_several() else np.unique(lengths).tolist():
        first, last = begins[lengths == one, None], ends[lengths == one, None]
        # Processes that share a model's weights must call it equally often.
        rows = np.minimum(first + np.arange(one), last - 1) if len(first) else np.zeros((1, 1), np.int64)
        numbers = before + np.arange(rows.size).reshape(rows.shape)
        is_real = first + np.arange(one) < last
        if len(first):
            back[rows[is_real]] = numbers[is_real]
        before += rows.size
        places.append(torch.from_numpy(rows).to(batch["labels"].device))
    return Rows(places, torch.from_numpy(back).to(batch["labels"].device))


def _lengths(longest: int) -> list[int]:
    lengths = [SHORTEST]
    while lengths[-1] < longest:
        lengths.append(2 * lengths[-1])
    return [*lengths[:-1], longest]


def _padded(lengths: np.ndarray, longest: int) -> np.ndarray:
    known = np.array(_lengths(longest))
    padded: np.ndarray = known[np.searchsorted(known, lengths)]
    return padded


def _are_several() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
