"""The training loop: one for every kind of model, for pretraining and for fine-tuning."""

import contextlib
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from components.common import lifetime
from components.common.errors import Preempted, TrainingDiverged
from components.common.recipe import Training
from components.training import compilation, guard, memory, probe
from components.training import device as devices
from components.training.checkpoint import Checkpoints
from components.training.feeding import Fed, Feeder, to_device
from components.training.optimization import Average, learning_rate, make_optimizers, trainable, update
from components.training.order import BatchOrder, evenly_spaced
from components.training.state import Parts, State, restore, snapshot
from components.training.task import Examples, Task

log = logging.getLogger("modelmill")
HISTORY_ROWS = 1000
VALIDATION_BATCH = 32


@dataclass
class Result:
    """A finished training.

    `state` and `skipped` (batches left out) are of the whole training; the others of this process: the step it went
    on from, seconds in all and in its steps after the first, the terms and FLOPs of those steps.
    """

    state: State
    stopped_early: bool
    skipped: int
    resumed_from: int
    seconds: float
    step_seconds: float
    terms: int
    flops: float


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
    """Train in place and leave the model with the weights of the lowest validation loss.

    The next step depends on the checkpoint alone, so a training that was killed and started again ends with the
    same bits as one that was not (same hardware, same libraries).

    Raises:
        TrainingDiverged: more batches than the recipe allows were bad, or the validation loss is not finite; the last
            good checkpoint stays in the store.
        UserError: the recipe's micro-batch, or even one example, does not fit into memory.
        Preempted: SIGTERM came; what was done is saved.
    """
    device = devices.pick_device()
    model.to(device)
    started = time.monotonic()
    parts = Parts(
        model=model,
        optimizers=make_optimizers(model, task.blocks(model), settings),
        guard=guard.Guard(settings, device),
        average=Average(model, settings.ema) if settings.ema is not None else None,
        best={},
    )
    batch_size = len(train_examples) if settings.batch_size == "all" else settings.batch_size
    order = BatchOrder(len(train_examples), None if settings.batch_size == "all" else batch_size, seed)
    trainer = _Trainer(task, settings, device, parts)
    cost = trainer.probe(train_examples) if settings.steps else probe.Cost(0, 0)
    flops = cost.flops * batch_size
    trainer.compiled = compilation.compile_modules(task.compilable(model), settings, flops * settings.steps, device)
    if saved := checkpoints.load():
        state = restore(saved, parts)
        progress(state.step, settings.steps, f"resumed at step {state.step}")
    else:
        state = State(micro_batch=memory.micro_batch_size(settings, batch_size, cost.kept_bytes, device))
    result = Result(state, False, 0, state.step, 0.0, 0.0, 0, 0.0)
    last_checkpoint = time.monotonic()
    row_every = max(1, settings.steps // HISTORY_ROWS)

    feeding = Feeder(task, train_examples, order, state.micro_batch, device)
    with feeding as feeder, lifetime.termination() as terminated:
        while state.step < settings.steps and not _exhausted(state, settings):
            began = time.monotonic()
            fed = feeder.batch(state.step)
            rate = learning_rate(state.step, settings)
            loss = trainer.step(state.step, fed, rate)
            state.step += 1
            evaluates = state.step % settings.evaluate_every == 0 or state.step == settings.steps
            due = terminated.is_set() or time.monotonic() - last_checkpoint >= settings.checkpoint_seconds
            saves = due and state.step < settings.steps
            row = {"step": state.step, "learning_rate": rate}
            if state.step % row_every == 0 or evaluates or saves or state.step == result.resumed_from + 1:
                if too_many := parts.guard.look():
                    samples = train_examples.describe(order.indices(too_many[0].step))
                    raise guard.diverged(too_many[0], len(parts.guard.skipped), samples, _kept_step(checkpoints))
                row["loss"] = loss.item()
                progress(state.step, settings.steps, _describe(row["loss"], state))
            if state.step > result.resumed_from + 1:
                result.step_seconds += time.monotonic() - began
                result.terms += fed.terms
                result.flops += flops
            if evaluates:
                row["validation_loss"] = trainer.validation_loss(validation_examples)
                _require_finite(row["validation_loss"], state.step, checkpoints)
                _keep_best(state, parts, row["validation_loss"])
            if (state.step % row_every == 0 or evaluates) and math.isfinite(row["loss"]):
                state.history.append(row)
            if saves:
                checkpoints.save(snapshot(state, parts))
                last_checkpoint = time.monotonic()
                if terminated.is_set():
                    raise Preempted(
                        f"stopped by SIGTERM after step {state.step}, which is saved; run it again to go on"
                    )

    with torch.no_grad():
        for name, parameter in trainable(model).items():
            parameter.copy_(parts.best.get(name, parameter))
    result.stopped_early = state.step < settings.steps
    result.skipped = len(parts.guard.skipped)
    result.seconds = time.monotonic() - started
    return result


class _Trainer:
    """The two things that are done with a model and a batch: a step, and a measurement."""

    def __init__(self, task: Task, settings: Training, device: torch.device, parts: Parts) -> None:
        self.task = task
        self.settings = settings
        self.device = device
        self.parts = parts
        self.weights = list(trainable(parts.model).values())
        self.dtype = devices.compute_dtype(device, settings, task.mixed_precision)
        self.compiled = False

    def step(self, step: int, fed: Fed, rate: float) -> torch.Tensor:
        """Forward, backward, clip, update; returns the mean loss in nats, a scalar on the device."""
        parts, settings = self.parts, self.settings
        parts.model.train()
        loss = torch.zeros((), device=self.device)
        for batch in fed.parts:
            with self._autocast():
                part = self.task.loss(parts.model, batch, settings.label_smoothing) / max(1, fed.terms)
            part.backward()
            loss += part.detach()
        norm = nn.utils.clip_grad_norm_(self.weights, settings.clip_norm or math.inf, foreach=True)
        update(parts.optimizers, rate, parts.guard.judge(step, loss, norm))
        if parts.average is not None:
            parts.average.update(step)
        return loss

    @torch.no_grad()
    def validation_loss(self, examples: Examples) -> float:
        """Mean loss in nats over an even sample of a split, the same sample each time."""
        self.parts.model.eval()
        total, terms = torch.zeros((), device=self.device), 0
        average = self.parts.average.applied() if self.parts.average else contextlib.nullcontext()
        with average, compilation.as_written(self.compiled), self._autocast():
            for indices in evenly_spaced(len(examples), VALIDATION_BATCH, self.settings.validation_batches):
                batch = examples.batch(indices)
                terms += self.task.terms(batch)
                total += self.task.loss(self.parts.model, to_device(batch, self.device))
        return total.item() / max(1, terms)

    def probe(self, examples: Examples) -> probe.Cost:
        """What one example costs, forward and backward."""
        batch = to_device(examples.batch(evenly_spaced(len(examples), 1, 1)[0]), self.device)

        def loss() -> torch.Tensor:
            with self._autocast():
                return self.task.loss(self.parts.model, batch)

        cost = probe.measure(loss)
        self.parts.model.zero_grad(set_to_none=True)
        return cost

    def _autocast(self) -> contextlib.AbstractContextManager[None]:
        return devices.autocast(self.device, self.dtype)


def _exhausted(state: State, settings: Training) -> bool:
    return settings.patience is not None and state.without_improvement >= settings.patience


def _keep_best(state: State, parts: Parts, loss: float) -> None:
    if loss < state.best_loss:
        state.best_loss, state.best_step, state.without_improvement = loss, state.step, 0
        weights = parts.average.tensors if parts.average else trainable(parts.model)
        parts.best.update({name: tensor.detach().clone() for name, tensor in weights.items()})
    else:
        state.without_improvement += 1


def _require_finite(loss: float, step: int, checkpoints: Checkpoints) -> None:
    if math.isfinite(loss):
        return
    kept = _kept_step(checkpoints)
    where = "no checkpoint was due yet" if kept is None else f"the checkpoint of step {kept} is kept"
    raise TrainingDiverged(
        f"the validation loss became {loss} after step {step}; {where}; try a lower learning_rate or clip_norm"
    )


def _kept_step(checkpoints: Checkpoints) -> int | None:
    kept = checkpoints.load()
    return kept.state["step"] if kept else None


def _describe(loss: float, state: State) -> str:
    best = "" if math.isinf(state.best_loss) else f", validation {state.best_loss:.3f}"
    return f"loss {loss:.3f}{best}"
