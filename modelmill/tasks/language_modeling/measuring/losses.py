"""Losses of held-out documents, responses and turns."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from modelmill.tasks.language_modeling.measuring.examples import Row, Runs
from modelmill.training.loop.feeding import to_device

BATCH = 16
# Returns the number of the unit, such as a document, that each label of some windows belongs to.
Owners = Callable[[np.ndarray], np.ndarray]


def rows_of(
    task: Any, model: torch.nn.Module, examples: Any, described: dict[int, Row], when: str, most: int
) -> list[Row]:
    """Return a row for each example that is wholly in the first windows of the split.

    Args:
        task: The task, as `make_task` returns it.
        model: The model.
        examples: The windows.
        described: The columns of each example that are the same for every model.
        when: Name of the model: `before` or `after` fine-tuning.
        most: The most windows.
    """
    count = sum(shard.documents for shard in examples.shards)
    losses, terms = summed(task, model, examples, examples.documents, count, most)
    cut = cut_document(examples, most)
    return [
        {**row, "model": when, "loss": float(losses[number]), "weight": float(terms[number])}
        for number, row in described.items()
        if terms[number] and number != cut
    ]


def summed(
    task: Any, model: torch.nn.Module, examples: Any, owners: Owners, count: int, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the loss in nats and the number of labels of each unit in the first windows.

    Args:
        task: The task, as `make_task` returns it.
        model: The model.
        examples: The windows.
        owners: Which unit each label is of.
        count: Number of units.
        most: The most windows.
    """
    losses, terms = np.zeros(count), np.zeros(count)
    device = next(model.parameters()).device
    scored = min(most, len(examples))
    for first in range(0, scored, BATCH):
        indices = np.arange(first, min(first + BATCH, scored))
        batch, units = examples.batch(indices), owners(indices).ravel()
        nats = task.losses(model, to_device(batch, device)).double().cpu().numpy().ravel()
        counted = (batch["labels"] >= 0).numpy().ravel()
        losses += np.bincount(units, nats, count)
        terms += np.bincount(units, counted, count)
    return losses, terms


def cut_document(examples: Any, most: int) -> int | None:
    """Return the number of the document that the first windows end within; None if there is none.

    Args:
        examples: The windows.
        most: The most windows.
    """
    scored = min(most, len(examples))
    if scored == len(examples):
        return None
    last, following = (examples.documents(np.array([window])) for window in (scored - 1, scored))
    return int(last[0, -1]) if int(following[0, 0]) == int(last[0, -1]) else None


def by_run(examples: Any, runs: Runs) -> Owners:
    """Return which run of learned tokens each label is of; labels that are not learned are of any.

    Args:
        examples: The windows.
        runs: The runs.
    """

    def owners(indices: np.ndarray) -> np.ndarray:
        shards = np.searchsorted(examples.first, indices, side="right") - 1
        found = []
        for shard, index in zip(shards, indices, strict=True):
            places = int(index - examples.first[shard]) * examples.length + np.arange(1, examples.length + 1)
            numbers = runs.by_token[shard][np.minimum(places, len(runs.by_token[shard]) - 1)]
            found.append(runs.before[shard] + np.maximum(numbers, 0))
        return np.stack(found)

    return owners
