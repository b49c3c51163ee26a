"""Everything that the next step of a training depends on, to be saved and brought back.

Random numbers are not among it: those of a step are a function of the seed and the step (see `device.seed_step`), and
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
    """Where training is. `step` counts finished steps; losses are means in nats per token or example; `micro_batch` is
    how many examples a process puts through the model at once; `device_seconds` are those of every process so far.
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
    """What holds tensors in a training; `best` are the weights of the lowest validation loss by name."""

    model: nn.Module
    optimizers: Optimizers
    guard: Guard
    average: Average | None
    best: dict[str, torch.Tensor]


def snapshot(state: State, parts: Parts) -> Snapshot:
    """Tensors and JSON: no pickle. A tensor's name is its role, the weight it belongs to and, of a slot, the slot's."""
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
    """Tensors to read a snapshot into: what belongs to a weight is spread over the processes as the weight is."""
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
    """Put what a snapshot holds into the parts."""
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
