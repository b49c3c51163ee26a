"""The training loop: one for every kind of model, for pretraining and for fine-tuning."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from components.common.errors import TrainingDiverged
from components.common.recipe import Training
from components.training import device as devices
from components.training.checkpoint import Checkpoints, Snapshot
from components.training.optimization import learning_rate, make_optimizer
from components.training.order import BatchOrder, evenly_spaced
from components.training.task import Batch, Examples, Task

HISTORY_ROWS = 1000
VALIDATION_BATCH = 32


@dataclass
class State:
    """Where training is. `step` counts finished steps; losses are means in nats per token or example."""

    step: int = 0
    best_loss: float = math.inf
    best_step: int = 0
    without_improvement: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass
class Result:
    """A finished training; `seconds` and `resumed_from` are of this process, the rest of the whole training."""

    state: State
    stopped_early: bool
    resumed_from: int
    seconds: float
    terms: int


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
        TrainingDiverged: a loss is NaN or infinite; the last good checkpoint stays in the store.
    """
    device = devices.pick_device()
    model.to(device)
    optimizer = make_optimizer(model, settings)
    batch_size = None if settings.batch_size == "all" else settings.batch_size
    order = BatchOrder(len(train_examples), batch_size, seed)
    best: dict[str, torch.Tensor] = {}
    state = State()
    if snapshot := checkpoints.load():
        state = _restore(snapshot, model, optimizer, best)
        progress(state.step, settings.steps, f"resumed at step {state.step}")
    resumed_from, started, terms = state.step, time.monotonic(), 0
    last_checkpoint = started
    row_every = max(1, settings.steps // HISTORY_ROWS)

    while state.step < settings.steps and not _exhausted(state, settings):
        rate = learning_rate(state.step, settings)
        batch = to_device(train_examples.batch(order.indices(state.step)), device)
        loss, count = train_step(model, task, batch, optimizer, rate, settings, device)
        _require_finite(loss, state.step, checkpoints)
        state.step += 1
        terms += count
        row = {"step": state.step, "learning_rate": rate, "loss": loss}
        if state.step % settings.evaluate_every == 0 or state.step == settings.steps:
            row["validation_loss"] = mean_loss(model, task, validation_examples, settings, device)
            _require_finite(row["validation_loss"], state.step, checkpoints)
            _keep_best(state, best, model, row["validation_loss"])
        if state.step % row_every == 0 or "validation_loss" in row:
            state.history.append(row)
        progress(state.step, settings.steps, _describe(loss, state))
        if time.monotonic() - last_checkpoint >= settings.checkpoint_seconds and state.step < settings.steps:
            checkpoints.save(_snapshot(state, model, optimizer, best))
            last_checkpoint = time.monotonic()

    with torch.no_grad():
        for name, parameter in trainable(model).items():
            parameter.copy_(best.get(name, parameter))
    seconds = time.monotonic() - started
    return Result(state, state.step < settings.steps, resumed_from, seconds, terms)


def train_step(
    model: nn.Module,
    task: Task,
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    rate: float,
    settings: Training,
    device: torch.device,
) -> tuple[float, int]:
    """Forward, backward, clip, update; returns the mean loss in nats and the number of terms it is the mean of."""
    model.train()
    for group in optimizer.param_groups:
        group["lr"] = rate
    with devices.autocast(device, settings, task.mixed_precision):
        total, count = task.loss(model, batch)
    loss = total / max(1, count)
    loss.backward()
    if settings.clip_norm is not None:
        nn.utils.clip_grad_norm_(trainable(model).values(), settings.clip_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.item(), count


@torch.no_grad()
def mean_loss(model: nn.Module, task: Task, examples: Examples, settings: Training, device: torch.device) -> float:
    """Mean loss in nats over an even sample of a split, the same sample each time."""
    model.eval()
    total, terms = 0.0, 0
    for indices in evenly_spaced(len(examples), VALIDATION_BATCH, settings.validation_batches):
        batch = to_device(examples.batch(indices), device)
        with devices.autocast(device, settings, task.mixed_precision):
            loss, count = task.loss(model, batch)
        total, terms = total + loss.item(), terms + count
    return total / max(1, terms)


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def to_device(batch: Batch, device: torch.device) -> Batch:
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}


def _exhausted(state: State, settings: Training) -> bool:
    return settings.patience is not None and state.without_improvement >= settings.patience


def _keep_best(state: State, best: dict[str, torch.Tensor], model: nn.Module, loss: float) -> None:
    if loss < state.best_loss:
        state.best_loss, state.best_step, state.without_improvement = loss, state.step, 0
        best.update({name: p.detach().clone() for name, p in trainable(model).items()})
    else:
        state.without_improvement += 1


def _require_finite(loss: float, step: int, checkpoints: Checkpoints) -> None:
    if math.isfinite(loss):
        return
    kept = checkpoints.load()
    where = f"the checkpoint of step {kept.state['step']} is kept" if kept else "no checkpoint was due yet"
    raise TrainingDiverged(f"the loss became {loss} after step {step}; {where}; try a lower learning_rate or clip_norm")


def _describe(loss: float, state: State) -> str:
    best = "" if math.isinf(state.best_loss) else f", validation {state.best_loss:.3f}"
    return f"loss {loss:.3f}{best}"


def _snapshot(
    state: State, model: nn.Module, optimizer: torch.optim.Optimizer, best: dict[str, torch.Tensor]
) -> Snapshot:
    """Everything that the next step depends on, as tensors and JSON: no pickle."""
    weights = trainable(model)
    names = {id(p): name for name, p in weights.items()}
    tensors: dict[str, torch.Tensor] = {f"model.{name}": p.detach() for name, p in weights.items()}
    tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
    for parameter, slots in optimizer.state.items():
        tensors |= {f"optimizer.{names[id(parameter)]}.{k}": v for k, v in slots.items() if torch.is_tensor(v)}
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    document: dict[str, Any] = {**vars(state), "best_loss": None if math.isinf(state.best_loss) else state.best_loss}
    return Snapshot(tensors, document)


def _restore(
    snapshot: Snapshot, model: nn.Module, optimizer: torch.optim.Optimizer, best: dict[str, torch.Tensor]
) -> State:
    tensors = snapshot.tensors
    with torch.no_grad():
        for name, parameter in trainable(model).items():
            parameter.copy_(tensors[f"model.{name}"])
            if f"best.{name}" in tensors:
                best[name] = tensors[f"best.{name}"].to(parameter.device)
            prefix = f"optimizer.{name}."
            slots = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            if slots:
                # AdamW keeps its step count on the CPU unless it is fused on a GPU: follow the moments' device.
                optimizer.state[parameter] = {k: v.to(parameter.device) for k, v in slots.items()}
    torch.set_rng_state(tensors["random.cpu"])
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"])
    document = snapshot.state
    return State(**{**document, "best_loss": math.inf if document["best_loss"] is None else document["best_loss"]})
