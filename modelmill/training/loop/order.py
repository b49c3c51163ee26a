"""The order of examples: a function of the seed and the step alone, so that a resumed run reads the same batches."""

from functools import lru_cache

import numpy as np

from modelmill.core.errors import UserError
from modelmill.recipe import Training
from modelmill.tasks.contract import Examples

# Batches whose examples are sorted by length together: enough to be alike, few enough to differ in each epoch.
SORTED = 16


class BatchOrder:
    """The examples of each step's batch: every epoch is a new permutation, and batches run across epochs."""

    def __init__(self, examples: int, batch_size: int | None, seed: int, lengths: np.ndarray | None = None) -> None:
        """Define the order.

        Args:
            examples: Number of examples.
            batch_size: Examples of one step; None takes all of them, in their order.
            seed: Seed of the permutations.
            lengths: Length of each example, where examples of like length are to share a batch.
        """
        self.examples = examples
        self.batch_size = batch_size
        self.seed = seed
        self.lengths = lengths
        self._permutation = lru_cache(maxsize=2)(self._permute)

    def indices(self, step: int) -> np.ndarray:
        """Return the numbers of the examples in a step's batch: int64, (batch_size,).

        Args:
            step: The step, from 0.
        """
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
            # The epoch's first batch of its own begins where the last one of the epoch before is full.
            first = -epoch * self.examples % self.batch_size
            whole = permutation[first:][: max(0, self.examples - first) // self.batch_size * self.batch_size]
            for begin in range(0, len(whole), SORTED * self.batch_size):
                together = whole[begin : begin + SORTED * self.batch_size]
                alike = together[np.argsort(self.lengths[together], kind="stable")].reshape(-1, self.batch_size)
                together[:] = random.permutation(alike).ravel()
        return permutation


def batch_order(examples: Examples, settings: Training, batch_size: int, seed: int) -> BatchOrder:
    """Return the recipe's order.

    Args:
        examples: The examples.
        settings: The stage's settings.
        batch_size: Examples of one step.
        seed: The recipe's seed.

    Raises:
        UserError: Examples of one length are to be grouped by it.
    """
    if settings.group_by_length and examples.lengths is None:
        raise UserError("group_by_length: all examples of this stage have one length; set it to false")
    size = None if settings.batch_size == "all" else batch_size
    return BatchOrder(len(examples), size, seed, examples.lengths if settings.group_by_length else None)


def evenly_spaced(examples: int, batch_size: int, batches: int) -> list[np.ndarray]:
    """Return at most `batches` batches that cover a split evenly, the same ones each time; all of it where it fits.

    Args:
        examples: Number of examples in the split.
        batch_size: Examples in a batch.
        batches: The most batches.
    """
    wanted = min(examples, batch_size * batches)
    chosen = np.unique(np.linspace(0, examples - 1, wanted).round().astype(np.int64))
    return [chosen[i : i + batch_size] for i in range(0, len(chosen), batch_size)]
