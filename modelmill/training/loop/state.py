"""The state of a training: everything that its next step depends on, to be saved and restored.

Random numbers are not part of it: a step's are a function of the seed and the step (see `determinism.seed_step`), and
so is the order of the data.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from modelmill.training.loop.checkpoint import CheckpointMismatch, Make, Snapshot
from modelmill.training.loop.guard import Guard
from modelmill.training.loop.optimization import Average, Optimizers, trainable


@dataclass
class State:
    """The progress of a training; losses are means in nats per token or example.

    Attributes:
        micro_batch: Examples that a process puts through the model at a time.
        step: Number of finished steps.
        best_loss: The lowest validation loss.
        best_step: The step of the lowest validation loss.
        without_improvement: Evaluations since then.
        device_seconds: Device time of every process so far.
        history: Rows of the history.
    """

    micro_batch: int
    step: int = 0
    best_loss: float = math.inf
    best_step: int = 0
    without_improvement: int = 0
    device_seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass
class Parts:
    """The holders of tensors in a training.

    Attributes:
        model: The model.
        optimizers: The optimisers.
        guard: The judge of batches.
        average: The average of weights, if the recipe wants one.
        best: The weights of the lowest validation loss, by name.
    """

    model: nn.Module
    optimizers: Optimizers
    guard: Guard
    average: Average | None
    best: dict[str, torch.Tensor]


def snapshot(state: State, parts: Parts) -> Snapshot:
    """Return tensors and JSON, without pickle.

    A tensor's name is its role, the weight it belongs to and, for an optimiser's slot, the slot's name.
    """
    weights = trainable(parts.model)
    names = {id(p): name for name, p in weights.items()}
    tensors: dict[str, torch.Tensor] = {f"model.{name}": p.detach() for name, p in weights.items()}
    tensors |= {f"best.{name}": tensor for name, tensor in parts.best.items()}
    for optimizer in parts.optimizers:
        for parameter, slots in optimizer.state.items():
            tensors |= {f"optimizer.{names[id(parameter)]}.{k}": v for k, v in slots.items() if torch.is_tensor(v)}
    if parts.average is not None:
        tensors |= {f"average.{name}": tensor for name, tensor in parts.average.tensors.items()}
    tensors |= {"guard.losses": parts.guard.losses, "guard.seen": parts.guard.seen}
    document: dict[str, Any] = {**vars(state), "skipped": parts.guard.skipped}
    document["best_loss"] = None if math.isinf(state.best_loss) else state.best_loss
    return Snapshot(tensors, document)


def room_for(parts: Parts) -> Make:
    """Return the maker of tensors to read a snapshot into, each spread over the processes as its weight is."""
    weights = trainable(parts.model)

    def make(name: str, shape: torch.Size, dtype: torch.dtype) -> torch.Tensor:
        role, _, rest = name.partition(".")
        weight = weights.get(rest if role != "optimizer" else rest.rpartition(".")[0])
        if role == "guard" or (role == "optimizer" and weight is not None and not shape):
            return torch.empty(shape, dtype=dtype)
        if weight is None:
            raise CheckpointMismatch(f"it holds {rest}, which this model does not train")
        if weight.shape != shape:
            raise CheckpointMismatch(f"its {rest} is {tuple(shape)}, this model's is {tuple(weight.shape)}")
        return torch.empty_like(weight, dtype=dtype, requires_grad=False)

    return make


@torch.no_grad()
def restore(saved: Snapshot, parts: Parts) -> State:
    """Put a snapshot into the parts, and return the state."""
    tensors = saved.tensors
    owners = {id(p): optimizer for optimizer in parts.optimizers for g in optimizer.param_groups for p in g["params"]}
    for name, parameter in trainable(parts.model).items():
        parameter.copy_(tensors[f"model.{name}"])
        if f"best.{name}" in tensors:
            parts.best[name] = tensors[f"best.{name}"]
        if parts.average is not None:
            parts.average.tensors[name].copy_(tensors[f"average.{name}"])
        prefix = f"optimizer.{name}."
        slots = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        if slots:
            # AdamW keeps its step count on the CPU unless it is fused on a GPU: follow the moments' device.
            owners[id(parameter)].state[parameter] = {k: v.to(parameter.device) for k, v in slots.items()}
    parts.guard.losses.copy_(tensors["guard.losses"])
    parts.guard.seen.copy_(tensors["guard.seen"])
    document = dict(saved.state)
    parts.guard.skipped = document.pop("skipped")
    return State(**{**document, "best_loss": math.inf if document["best_loss"] is None else document["best_loss"]})
