"""Log-probabilities of whole answers under a model."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from modelmill.models.token_losses import LinearTokenLosses
from modelmill.tasks.contract import Batch
from modelmill.tasks.language_modeling import ways
from modelmill.tasks.language_modeling.objectives.answer_files import FIRST, SECOND
from modelmill.tasks.language_modeling.objectives.answer_rows import MISMATCHED, AnswerRows
from modelmill.training.device.world import World
from modelmill.training.loop.feeding import to_device

# Rows that are scored at a time where no gradient is wanted.
ROWS = 8


def scores(task: Any, model: Any, batch: Batch, token_losses: LinearTokenLosses) -> torch.Tensor:
    """Return the log-probabilities of prompts and answers, sums over their scored tokens, fp32, (examples, 3).

    Args:
        task: The task.
        model: The model.
        batch: A batch of `AnswerRows` on the model's device.
        token_losses: The loss of tokens under a plain head.
    """
    places, targets = batch["places"], batch["targets"]
    if ways.takes_plain_head(task.way, model):
        hidden = ways.hidden(task.way, model, batch).flatten(0, 1).index_select(0, places)
        losses = token_losses(hidden, model.get_output_embeddings().weight, targets)
    else:
        logits = ways.logits(task.way, model, batch).flatten(0, 1).index_select(0, places)
        losses = F.cross_entropy(logits.float(), targets, reduction="none")
    sums = losses.new_zeros(3 * len(batch["lengths"])).index_add(0, batch["owners"], -losses)
    return sums.unflatten(0, (-1, 3))


@torch.no_grad()
def of_split(
    task: Any, model: Any, examples: AnswerRows, world: World | None = None, said: Any = lambda done, total: None
) -> np.ndarray:
    """Return the log-probabilities of both answers of each example of a split, fp32, (examples, 2).

    Args:
        task: The task.
        model: The model, for evaluation.
        examples: The split's examples.
        world: The processes that share the work, each with the whole model; they get the same numbers.
        said: Called with the rows done and their total.
    """
    world, token_losses = world or World(), LinearTokenLosses()
    device = next(model.parameters()).device
    found = torch.zeros(len(examples.files), 2, device=device)
    batches = [np.arange(first, min(first + ROWS, len(examples))) for first in range(0, len(examples), ROWS)]
    for done, indices in enumerate(batches[world.rank :: world.size]):
        batch = to_device(examples.batch(indices), device)
        both = scores(task, model, batch, token_losses)[:, FIRST:]
        if MISMATCHED + "input_ids" in batch:
            both[:, SECOND - FIRST] = scores(task, model, mismatched(batch), token_losses)[:, SECOND]
        found[torch.from_numpy(examples.examples(indices)).to(device)] = both.float()
        said(done * ROWS * world.size, len(examples))
    return world.add_up(found).cpu().numpy()


def mismatched(batch: Batch) -> Batch:
    """Return the part of a batch with labelled answers that belong to other prompts."""
    return {name.removeprefix(MISMATCHED): tensor for name, tensor in batch.items() if name.startswith(MISMATCHED)}
