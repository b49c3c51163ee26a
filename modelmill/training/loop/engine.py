"""The training loop: one for every kind of model, for pretraining and for fine-tuning."""

import copy
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from modelmill.core import lifetime
from modelmill.core.errors import Preempted, TrainingDiverged, UserError
from modelmill.recipe import Training
from modelmill.tasks.contract import Examples, Task
from modelmill.training.device.world import World
from modelmill.training.launch import parallel
from modelmill.training.loop import guard
from modelmill.training.loop.checkpoint import Checkpoints
from modelmill.training.loop.feeding import Feeder
from modelmill.training.loop.journal import Due, Journal, Pace
from modelmill.training.loop.optimization import learning_rate, trainable
from modelmill.training.loop.order import batch_order
from modelmill.training.loop.state import Parts, State, restore, room_for, snapshot
from modelmill.training.loop.trainer import Trainer


@dataclass
class Result:
    """A finished training.

    `terms` and `flops` are of the measured steps, those of this process after its first, in all processes together.

    Attributes:
        state: State of the whole training.
        stopped_early: Whether the validation loss stopped the training.
        skipped: Batches of the whole training that were left out.
        resumed_from: Step from which this process resumed.
        seconds: Duration in this process.
        step_seconds: Duration of the measured steps.
        terms: Terms of the loss in the measured steps.
        flops: FLOPs of the measured steps.
        step_flops: FLOPs of one step.
        input_seconds: How long this process has waited for batches in the measured steps.
    """

    state: State
    stopped_early: bool
    skipped: int
    resumed_from: int
    seconds: float
    step_seconds: float
    terms: int
    flops: float
    step_flops: float
    input_seconds: float = 0.0


def train(
    model: nn.Module,
    task: Task,
    train_examples: Examples,
    validation_examples: Examples,
    settings: Training,
    seed: int,
    checkpoints: Checkpoints,
    progress: Callable[[float, float, str], None],
) -> Result:
    """Train, and leave the model with the weights of the lowest validation loss.

    The next step depends on the checkpoint alone, so a training that was killed and started again ends with the same
    bits as one that was not (same hardware, same libraries, same number of processes). The processes of
    `checkpoints.world` do this together.

    Args:
        model: The model, trained in place.
        task: The task.
        train_examples: Examples of the training split.
        validation_examples: Examples of the validation split.
        settings: The stage's settings.
        seed: The recipe's seed.
        checkpoints: Where the training resumes from and saves to.
        progress: Called with the steps done, their total and a text.

    Raises:
        TrainingDiverged: More batches than the recipe allows were bad, or the validation loss is not finite; the last
            good checkpoint stays in the store.
        UserError: The recipe's micro-batch, or even one example, does not fit into memory; the processes cannot share
            the batch evenly; or examples of one length are to be grouped by it.
        Preempted: SIGTERM came; the work done so far is saved.
    """
    started, world = time.monotonic(), checkpoints.world
    if not settings.steps:
        return Result(State(micro_batch=0), False, 0, 0, 0.0, 0.0, 0, 0.0, 0.0)
    batch_size = _batch_size(train_examples, settings, world)
    # FSDP takes the model apart; the caller's stays whole.
    trained = copy.deepcopy(model) if parallel.is_sharded(settings, world) else model
    trainer = Trainer(trained, task, settings, seed, train_examples, batch_size, world)
    parts, device = trainer.parts, trainer.device
    order = batch_order(train_examples, settings, batch_size, seed)
    if saved := checkpoints.load(room_for(parts)):
        state = restore(saved, parts)
        progress(state.step, settings.steps, f"resumed at step {state.step}")
    else:
        state = State(micro_batch=trainer.fitting_micro_batch)
    result = Result(state, False, 0, state.step, 0.0, 0.0, 0, 0.0, trainer.step_flops)
    journal, pace, spent_before = Journal(state.history, settings), Pace(settings), state.device_seconds

    feeding = Feeder(task, train_examples, order, state.micro_batch, device, world)
    with feeding as feeder, lifetime.termination() as asked, checkpoints.finished():
        while state.step < settings.steps and not _exhausted(state, settings):
            began = time.monotonic()
            fed = feeder.batch(state.step)
            (terms, *counts), due = _agree(world, (fed.terms, *fed.counts), pace, asked)
            rate = learning_rate(state.step, settings)
            loss = trainer.step(state.step, fed.parts, terms, rate, counts)
            state.step += 1
            is_first = state.step == result.resumed_from + 1
            evaluates = state.step % settings.evaluate_every == 0 or state.step == settings.steps
            if due.look or due.save or evaluates or is_first:
                if suspect := parts.guard.look():
                    samples = train_examples.describe(order.indices(suspect.step))
                    raise guard.diverged(suspect, len(parts.guard.skipped), samples, checkpoints.newest_step())
                progress(state.step, settings.steps, _describe(loss.item(), state))
            if not is_first:
                result.step_seconds += time.monotonic() - began
                result.terms += int(terms)
                result.flops += trainer.step_flops
                result.input_seconds += feeder.waited
            validation_loss = None
            if evaluates:
                validation_loss = trainer.validation_loss(validation_examples, state.micro_batch)
                _require_finite(validation_loss, state.step, checkpoints)
                _keep_best(state, parts, validation_loss)
            journal.add(state.step, rate, loss, validation_loss)
            state.device_seconds = spent_before + (time.monotonic() - started) * world.size
            if due.save and state.step < settings.steps:
                journal.read()
                checkpoints.save(snapshot(state, parts))
                if due.end:
                    checkpoints.wait()
                    raise Preempted(f"saved at step {state.step}")

    journal.read()
    trainer.release()
    _hand_over(trained, parts, model)
    result.stopped_early = state.step < settings.steps
    result.skipped = len(parts.guard.skipped)
    result.seconds = time.monotonic() - started
    return result


def _batch_size(examples: Examples, settings: Training, world: World) -> int:
    """Return the number of examples in a step.

    Raises:
        UserError: The processes cannot share them evenly.
    """
    size = len(examples) if settings.batch_size == "all" else settings.batch_size
    if size % world.size:
        raise UserError(
            f"batch_size: {settings.batch_size}: {world.size} devices cannot share {size} examples evenly; "
            f"set batch_size to {size - size % world.size or world.size}, or devices to a divisor of it"
        )
    return size


def _agree(world: World, counts: Sequence[int], pace: Pace, asked: threading.Event) -> tuple[list[float], Due]:
    """Return the counts of the whole batch and what is due after the step, by the clock of the first process."""
    mine = pace.due(asked.is_set()) if world.rank == 0 else Due(False, False, asked.is_set())
    totals = world.agree(*counts, *mine)
    look, save, end = map(bool, totals[len(counts) :])
    return totals[: len(counts)], Due(look, save or end, end)


def _exhausted(state: State, settings: Training) -> bool:
    return settings.patience is not None and state.without_improvement >= settings.patience


def _keep_best(state: State, parts: Parts, loss: float) -> None:
    if loss < state.best_loss:
        state.best_loss, state.best_step, state.without_improvement = loss, state.step, 0
        weights = parts.average.tensors if parts.average else trainable(parts.model)
        parts.best.update({name: tensor.detach().clone() for name, tensor in weights.items()})
    else:
        state.without_improvement += 1


@torch.no_grad()
def _hand_over(trained: nn.Module, parts: Parts, model: nn.Module) -> None:
    """Put the best weights, or the last where none were measured, into the model."""
    for (name, weight), target in zip(trainable(trained).items(), trainable(model).values(), strict=True):
        target.copy_(parallel.whole(parts.best.get(name, weight)))


def _require_finite(loss: float, step: int, checkpoints: Checkpoints) -> None:
    if math.isfinite(loss):
        return
    kept = checkpoints.newest_step()
    where = "no checkpoint was due yet" if kept is None else f"the checkpoint of step {kept} is kept"
    raise TrainingDiverged(
        f"the validation loss became {loss} after step {step}; {where}; try a lower learning_rate or clip_norm"
    )


def _describe(loss: float, state: State) -> str:
    best = "" if math.isinf(state.best_loss) else f", validation {state.best_loss:.3f}"
    return f"loss {loss:.3f}{best}"
