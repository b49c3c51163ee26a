"""Validation loss at equal tokens: our engine and the Hugging Face Trainer with the same hyperparameters.

Run as `python -m benchmarks.training.loss NAME SHAPE CORPUS STEPS`; prints the losses during and after training as
JSON, in nats per token. Both start from the same weights, see the same batches in the same order, keep documents apart
in attention, and are measured by the same function on the same held-out windows.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.training import data
from benchmarks.training.peers import trainer_arguments
from modelmill.recipe import Training
from modelmill.tasks.language_modeling.task import LanguageModeling
from modelmill.training.device import determinism, hardware
from modelmill.training.loop.feeding import to_device
from modelmill.training.loop.optimization import learning_rate
from modelmill.training.loop.order import evenly_spaced

MEASURED = 10  # times in a training
WINDOWS = 32  # of a batch in validation
Curve = list[tuple[int, float]]


def hyperparameters(shape: data.Shape, steps: int) -> Training:
    """Return usual hyperparameters of a small decoder, with an optimizer that the Trainer has as well.

    Args:
        shape: The model and its batches.
        steps: Steps to train.
    """
    return Training(
        steps=steps,
        batch_size=shape.batch,
        learning_rate=3e-3,
        warmup=0.1,
        schedule="cosine",
        weight_decay=0.1,
        evaluate_every=max(1, steps // MEASURED),
        checkpoint_seconds=1e9,
    )


def modelmill(model: nn.Module, task: LanguageModeling, settings: Training, scratch: Path) -> Curve:
    """Return the validation losses of a training by our engine.

    Args:
        model: The model with its first weights.
        task: The task over the corpus.
        settings: The hyperparameters.
        scratch: Folder for temporary files.
    """
    from modelmill.store import open_store
    from modelmill.training.loop.checkpoint import Checkpoints
    from modelmill.training.loop.engine import train

    hardware.reuse_freed_memory()
    determinism.seed_everything(data.SEED)
    examples = data.splits(task, "pretraining")
    checkpoints = Checkpoints(open_store(f"file://{scratch}/store"), "bench", scratch)
    result = train(model, task, *examples, settings, data.SEED, checkpoints, lambda *_: None)
    return [(int(row["step"]), row["validation_loss"]) for row in result.state.history if "validation_loss" in row]


def hugging_face_trainer(model: nn.Module, task: LanguageModeling, settings: Training, scratch: Path) -> Curve:
    """Return the validation losses of a training by the Trainer.

    Args:
        model: The model with its first weights.
        task: The task over the corpus.
        settings: The hyperparameters.
        scratch: Folder for temporary files.
    """
    from transformers import Trainer, TrainerCallback

    curve: Curve = []
    model.set_attn_implementation("sdpa")  # type: ignore[operator]  # transformers' default

    class LossRecorder(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            if state.global_step % settings.evaluate_every == 0 or state.global_step == settings.steps:
                curve.append((state.global_step, _validation_loss(model, task, settings)))

    batches = data.batches(task, "pretraining", int(settings.batch_size), settings.steps)
    trainer = Trainer(
        model,
        trainer_arguments(scratch, settings),
        train_dataset=data.windows(batches, positions=True),
        callbacks=[LossRecorder],
    )
    # Our schedule, because the Trainer's first step has a rate of 0.
    rates = torch.optim.lr_scheduler.LambdaLR(
        trainer.create_optimizer(), lambda step: learning_rate(step, settings) / settings.learning_rate
    )
    trainer.lr_scheduler = rates
    trainer._get_train_sampler = lambda *_: None  # batches in the given order
    trainer.train()
    return curve


@torch.no_grad()
def _validation_loss(model: nn.Module, task: LanguageModeling, settings: Training) -> float:
    """Return the validation loss as the engine measures it."""
    device = hardware.pick_device()
    model.to(device)
    examples = data.splits(task, "pretraining")[1]
    total, terms = 0.0, 0
    model.eval()
    with torch.autocast(device.type, torch.bfloat16):
        for indices in evenly_spaced(len(examples), WINDOWS, settings.validation_batches):
            batch = examples.batch(indices)
            terms += task.terms(batch)
            total += task.loss(model, to_device(batch, device)).item()
    model.train()
    return total / terms


PEERS = {"modelmill": modelmill, "Hugging Face Trainer": hugging_face_trainer}


def main(name: str, shape: str, corpus: str, steps: str) -> None:
    """Train with one peer and print its losses.

    Args:
        name: Name of the peer.
        shape: Name of the shape.
        corpus: Folder of the packed corpus.
        steps: Steps to train.
    """
    its = data.SHAPES[shape]
    task, settings = data.open_task(Path(corpus), its), hyperparameters(its, int(steps))
    model = data.first_model(task)
    with tempfile.TemporaryDirectory() as scratch:
        points = PEERS[name](model, task, settings, Path(scratch))
    print(json.dumps({"points": points, "final": _validation_loss(model, task, settings)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
