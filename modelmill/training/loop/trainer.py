"""A model prepared for training on its device, and the work on a batch: a step, or a measurement."""

import contextlib
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from modelmill.models import torch_attention
from modelmill.recipe import Training
from modelmill.tasks.contract import Batch, Examples, Task
from modelmill.training.device import compilation, determinism, hardware, memory, precision
from modelmill.training.device.world import World
from modelmill.training.launch import parallel
from modelmill.training.loop import probe
from modelmill.training.loop.feeding import to_device
from modelmill.training.loop.guard import Guard
from modelmill.training.loop.optimization import Average, make_optimizers, trainable, update
from modelmill.training.loop.order import evenly_spaced
from modelmill.training.loop.state import Parts

# Examples of a batch of validation, as `validation_batches` counts them.
VALIDATION_BATCH = 32


class Trainer:
    """A model on its device, spread over the world and compiled where that pays.

    Attributes:
        parts: The holders of the training's tensors.
        device: The device of this process.
        dtype: The number format of matrix products.
        step_flops: FLOPs of a step, in all processes.
        fitting_micro_batch: Examples that fit into memory at a time.
        compiled: Whether modules were compiled.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        settings: Training,
        seed: int,
        examples: Examples,
        batch_size: int,
        world: World,
    ) -> None:
        """Prepare the model.

        Args:
            model: Trained in place, or sharded in place where the recipe says so.
            task: The task.
            settings: The stage's settings.
            seed: The recipe's seed.
            examples: Examples, of which one is run to measure its cost.
            batch_size: Examples in a step, in all processes.
            world: The processes.

        Raises:
            UserError: The recipe's micro-batch, or even one example, does not fit into memory; or `compile: on` without
                a compiler.
        """
        self.task = task
        self.settings = settings
        self.seed = seed
        self.world = world
        self.device = hardware.pick_device()
        self.dtype = precision.compute_dtype(self.device, settings, task.mixed_precision)
        self.scored = parallel.Scored(task, model.to(self.device), settings.label_smoothing)
        blocks = task.blocks(model)
        if parallel.is_sharded(settings, world):
            parallel.shard(self.scored, blocks, self.dtype, world)
        with torch_attention.as_one():
            self.step_flops = self._probe(examples, blocks).flops * batch_size
        if settings.activation_checkpointing:
            parallel.recompute(blocks)
        kept_bytes = self._probe(examples, blocks).kept_bytes
        self.compiled = compilation.compile_modules(
            task.compilable(model), settings, self.step_flops * settings.steps, self.device
        )
        self.called = parallel.replicate(self.scored) if parallel.is_replicated(settings, world) else self.scored
        self.fitting_micro_batch = world.least(
            memory.micro_batch_size(settings, batch_size // world.size, kept_bytes, self.device, world.local)
        )
        self.parts = Parts(
            model=model,
            optimizers=make_optimizers(model, blocks, settings),
            guard=Guard(settings, self.device),
            average=Average(model, settings.ema) if settings.ema is not None else None,
            best={},
        )
        self._weights = list(trainable(model).values())
        self._dressed = [*blocks, *task.compilable(model)]

    def step(
        self, step: int, batch: list[Batch], terms: float, rate: float, counts: Sequence[float] = ()
    ) -> torch.Tensor:
        """Run one step: forward, backward, clip, update.

        Args:
            step: The step, from 0.
            batch: This process's part, in micro-batches.
            terms: Terms of the loss in the parts of all processes.
            rate: The learning rate.
            counts: What else the loss is divided by, in the parts of all processes; see `OpenTask.counts`.

        Returns:
            The mean loss in nats, a scalar on the device.
        """
        determinism.seed_step(self.seed, step, self.world.rank, self.device)
        self.called.train()
        if self.scored.has_first_pass or counts:
            self._tell(batch, [terms, *counts], [1.0] * len(batch))
        loss = torch.zeros((), device=self.device)
        for number, part in enumerate(batch, start=1):
            with parallel.last_of_batch(self.called, number == len(batch)), memory.explained(part):
                with self._autocast():
                    # Gradients are averaged over the processes, and the loss is a sum: hence the factor.
                    mean = self.called(part) * (self.world.size / max(1, terms))
                mean.backward()
            loss += mean.detach() / self.world.size
        self.world.add_up(loss)
        norm = nn.utils.clip_grad_norm_(self._weights, self.settings.clip_norm or math.inf, foreach=True)
        update(self.parts.optimizers, rate, self.parts.guard.judge(step, loss, parallel.whole(norm)))
        if self.parts.average is not None:
            self.parts.average.update(step)
        return loss

    @torch.no_grad()
    def _tell(self, batch: list[Batch], totals: list[float], weights: Sequence[float]) -> None:
        """Put into each part of a batch what its loss takes from the whole batch.

        Args:
            batch: This process's parts.
            totals: Terms and counts in the parts of all processes.
            weights: 1 for each part, or 0 for one that is another process's.
        """
        for part in batch:
            part["totals"] = torch.tensor(totals, device=self.device)
        if self.scored.has_first_pass:
            summed = torch.zeros((), device=self.device)
            for part, weight in zip(batch, weights, strict=True):
                with memory.explained(part), self._autocast():
                    summed += self.scored(to_device(part, self.device), is_first=True) * weight
                parallel.forget_whole(self.scored)
            self.world.add_up(summed)
            for part in batch:
                part["first_pass"] = summed

    @torch.no_grad()
    def validation_loss(self, examples: Examples, at_once: int) -> float:
        """Return the mean loss in nats over an even sample of a split, the same sample each time.

        Args:
            examples: The split.
            at_once: Examples that a process computes at a time; what a step holds in memory is enough for them.
        """
        self.scored.eval()
        total, terms = torch.zeros((), device=self.device), 0
        average = self.parts.average.applied() if self.parts.average else contextlib.nullcontext()
        with average, compilation.as_written(self.compiled), self._autocast():
            for indices in evenly_spaced(len(examples), VALIDATION_BATCH, self.settings.validation_batches):
                calls = math.ceil(len(indices) / self.world.size / at_once)
                mine = np.array_split(self.world.share(indices), calls)
                # Every process must call a sharded model equally often, so one without examples takes another's.
                batches = [examples.batch(part if len(part) else indices[:1]) for part in mine]
                is_mine = [float(len(part) > 0) for part in mine]
                counts = [[self.task.terms(batch), *self.scored.counts(batch)] for batch in batches]
                summed = np.array(is_mine) @ np.array(counts)
                if self.scored.has_first_pass or len(summed) > 1:
                    self._tell(batches, self.world.agree(*summed.tolist()), is_mine)
                for batch, weight in zip(batches, is_mine, strict=True):
                    loss = self.scored(to_device(batch, self.device))
                    parallel.forget_whole(self.scored)
                    total += loss * weight
                terms += int(summed[0])
        return self.world.add_up(total).item() / max(1, *self.world.agree(terms))

    def release(self) -> None:
        """Leave the model's modules as they were written: neither compiled nor recomputed."""
        for module in self._dressed:
            vars(module).pop("forward", None)

    def _probe(self, examples: Examples, blocks: list[nn.Module]) -> probe.Cost:
        """Return the cost of one example, forward and backward."""
        batch = to_device(examples.batch(np.zeros(1, np.int64)), self.device)

        def loss() -> torch.Tensor:
            with self._autocast():
                return self.scored(batch)

        is_large = sum(p.numel() for p in self.scored.parameters()) > probe.LARGE
        cost = probe.measure_without_computing(loss, blocks) if is_large and self.world.size == 1 else None
        if cost is None:
            with memory.explained(batch):
                cost = probe.measure(loss, blocks)
        self.scored.zero_grad(set_to_none=True)
        return cost

    def _autocast(self) -> contextlib.AbstractContextManager[None]:
        return precision.autocast(self.device, self.dtype)
