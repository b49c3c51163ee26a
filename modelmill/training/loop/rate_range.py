"""The learning-rate range test: the loss while the rate rises from step to step, and the rate that it suggests.

The test is Smith's (2017, https://arxiv.org/abs/1506.01186, section 3.3); the exponential rise of the rate, the
smoothing and the stop are Gugger's (2018, https://sgugger.github.io/how-do-you-find-a-good-learning-rate.html) as in
fastai.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from torch import nn

from modelmill.core.digest import canonical_json
from modelmill.core.errors import TrainingDiverged
from modelmill.recipe import Training
from modelmill.recipe.sections import BadBatches
from modelmill.runtime import run_records
from modelmill.runtime.step_runtime import Step
from modelmill.tasks.contract import Examples, Task
from modelmill.training.device.world import World
from modelmill.training.loop.feeding import Feeder
from modelmill.training.loop.order import batch_order
from modelmill.training.loop.trainer import Trainer

# The part of a sweep that the averages remember.
MEMORY = 0.05
# The multiple of its lowest value at which the averaged loss ends the sweep.
HOPELESS = 4.0


class Row(NamedTuple):
    """A step of the sweep.

    Attributes:
        rate: The learning rate.
        loss: The mean loss of its batch before the update, in nats.
        smoothed: The smoothed loss.
    """

    rate: float
    loss: float
    smoothed: float


class RateSuggestion(NamedTuple):
    """The rates read off a sweep.

    Attributes:
        steepest: Rate where the smoothed loss falls fastest.
        lowest: Rate where the smoothed loss is lowest.
        suggestion: The lower of the steepest and a tenth of the lowest, but not below the first rate; None if the loss
            fell by no more than batches differ.
    """

    steepest: float | None
    lowest: float
    suggestion: float | None


def sweep(
    model: nn.Module,
    task: Task,
    examples: Examples,
    settings: Training,
    seed: int,
    rates: list[float],
    progress: Callable[[float, float, str], None],
) -> list[Row]:
    """Train a step at each rate, in place, on the batches that the engine would take, in this process alone.

    Optimizer, batch, clipping and weight decay are the recipe's; warm-up, schedule and average of weights are left out.
    Equal arguments give equal rows. The sweep ends before a loss that is not finite, and after one whose average is
    `HOPELESS` times the lowest.

    Args:
        model: The model, trained in place.
        task: The task.
        examples: Examples of the training split.
        settings: The stage's settings.
        seed: The recipe's seed.
        rates: The rates in their order.
        progress: Called with the steps done, their total and a text.

    Raises:
        UserError: The recipe's micro-batch, or even one example, does not fit into memory; or examples of one length
            are to be grouped by it.
    """
    settings = settings.model_copy(update={"steps": len(rates), "ema": None, "bad_batches": BadBatches()})
    batch_size = len(examples) if settings.batch_size == "all" else settings.batch_size
    trainer = Trainer(model, task, settings, seed, examples, batch_size, World())
    order = batch_order(examples, settings, batch_size, seed)
    losses: list[float] = []
    average, lowest, decay = 0.0, math.inf, _decay(len(rates))
    with Feeder(task, examples, order, trainer.fitting_micro_batch, trainer.device, World()) as feeder:
        for step, rate in enumerate(rates):
            fed = feeder.batch(step)
            loss = trainer.step(step, fed.parts, fed.terms, rate, fed.counts).item()
            if not math.isfinite(loss):
                break
            losses.append(loss)
            progress(step + 1, len(rates), f"rate {rate:.2g}, loss {loss:.3f}")
            average = _follow(average, loss, len(losses), decay)
            lowest = min(lowest, average)
            if average > HOPELESS * lowest:
                break
    return [Row(*row) for row in zip(rates, losses, smooth(losses, decay), strict=False)]


def spread(low: float, high: float, steps: int) -> list[float]:
    """Return rates from low to high, each the same multiple of the one before."""
    return [float(rate) for rate in np.geomspace(low, high, steps)]


def smooth(losses: list[float], decay: float) -> list[float]:
    """Return the exponential average, forwards and then backwards, so that it does not lag behind the losses.

    A lag would move every rate that is read off upwards.
    """
    for _ in range(2):
        average, averages = 0.0, []
        for number, loss in enumerate(losses, start=1):
            average = _follow(average, loss, number, decay)
            averages.append(average)
        losses = averages[::-1]
    return losses


def _follow(average: float, loss: float, number: int, decay: float) -> float:
    """Return the exponential average after the loss of this number (from 1), corrected for its start as in Adam."""
    return average + (loss - average) * (1 - decay) / (1 - decay**number)


def _decay(steps: int) -> float:
    return 1 - 1 / max(1.0, MEMORY * steps)


def read_off(rows: list[Row]) -> RateSuggestion:
    """Return the rates that a sweep of at least one row suggests."""
    rates, losses, smoothed = np.array(rows).T
    end = int(smoothed.argmin())
    lowest = float(rates[end])
    scatter = (losses - smoothed)[: end + 1].std()
    if smoothed[0] - smoothed[end] <= scatter:
        return RateSuggestion(None, lowest, None)
    slopes = np.gradient(smoothed, np.log(rates))
    steepest = float(rates[slopes[: end + 1].argmin()])
    return RateSuggestion(steepest, lowest, min(steepest, max(lowest / 10, rows[0].rate)))


def run(step: Step, task: Task, model: nn.Module, settings: Training, low: float, high: float, steps: int) -> str:
    """Sweep the rates on the stage's training split and keep the outcome in the run's records.

    Args:
        step: The running step.
        task: The task.
        model: The model, trained in place.
        settings: The stage's settings.
        low: The first rate.
        high: The last rate.
        steps: Number of rates.

    Returns:
        The outcome on one line.

    Raises:
        TrainingDiverged: The loss is not finite before the first update.
        UserError: See `sweep`.
    """
    examples = task.examples(step.name, "train")
    rows = sweep(model, task, examples, settings, step.recipe.seed, spread(low, high, steps), step.progress)
    if not rows:
        raise TrainingDiverged("the loss is not finite before the first update; look at the data and the weights")
    suggested = read_off(rows)
    document = {"rows": [row._asdict() for row in rows], **suggested._asdict()}
    step.store.put(run_records.lr_find_key(step.run_id), canonical_json(document))
    return (
        "the loss did not fall"
        if suggested.suggestion is None
        else f"learning rate {suggested.suggestion:.2g} suggested"
    )
