"""The order of examples: a function of the seed and the step alone, so that a resumed run reads what it would have."""

from functools import lru_cache

import numpy as np

from modelmill.core.errors import UserError
from modelmill.recipe import Training
from modelmill.tasks.contract import Examples

# Batches whose examples are sorted by their length together: enough to be alike, few enough to differ in each epoch.
SORTED = 16


class BatchOrder:
    """Which examples make the batch of each step: every epoch is a new permutation, and batches run across epochs.

    Args:
        examples: how many there are. batch_size: of one step; None takes all of them, in their order.
        seed: of the permutations. lengths: of each example, where those of like length are to share a batch.
    """

    def __init__(self, examples: int, batch_size: int | None, seed: int, lengths: np.ndarray | None = None) -> None:
        self.examples = examples
        self.batch_size = batch_size
        self.seed = seed
        self.lengths = lengths
        self._permutation = lru_cache(maxsize=2)(self._permute)

    def indices(self, step: int) -> np.ndarray:
        """Example numbers of the batch of a step (counted from 0): int64, shape (batch_size,)."""
        if self.batch_size is None:
            return np.arange(self.examples)
        first = step * self.batch_size
        positions = np.arange(first, first + self.batch_size)
        epochs = positions // self.examples
        within = positions % self.examples
        return np.concatenate([self._permutation(e)[within[epochs == e]] for e in np.unique(epochs).tolist()])

    def _permute(self, epoch: int) -> np.ndarray:
        random = np.random.default_rng([self.seed, epoch])
        permutation = random.permutation(self.examples)
        if self.lengths is not None and self.batch_size is not None:
            # The first batch of this epoch's own begins where the last one of the epoch before is full.
            first = -epoch * self.examples % self.batch_size
            whole = permutation[first:][: max(0, self.examples - first) // self.batch_size * self.batch_size]
            for begin in range(0, len(whole), SORTED * self.batch_size):
                together = whole[begin : begin + SORTED * self.batch_size]
                alike = together[np.argsort(self.lengths[together], kind="stable")].reshape(-1, self.batch_size)
                together[:] = random.permutation(alike).ravel()
        return permutation


def batch_order(examples: Examples, settings: Training, batch_size: int, seed: int) -> BatchOrder:
    """As the recipe says, of batches of so many examples.

    Raises:
        UserError: examples of one length are to be grouped by it.
    """
    if settings.group_by_length and examples.lengths is None:
        raise UserError("group_by_length: all examples of this stage have one length; set it to false")
    size = None if settings.batch_size == "all" else batch_size
    return BatchOrder(len(examples), size, seed, examples.lengths if settings.group_by_length else None)


def evenly_spaced(examples: int, batch_size: int, batches: int) -> list[np.ndarray]:
    """At most `batches` batches that cover a split evenly, the same ones each time; all of it where it fits."""
    wanted = min(examples, batch_size * batches)
    chosen = np.unique(np.linspace(0, examples - 1, wanted).round().astype(np.int64))
    return [chosen[i : i + batch_size] for i in range(0, len(chosen), batch_size)]
