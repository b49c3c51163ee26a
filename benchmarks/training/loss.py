"""Validation loss at equal tokens: our engine and the Hugging Face Trainer with the hyperparameters of the recipe.

Run as `python -m benchmarks.training.loss NAME SHAPE CORPUS STEPS`; prints [step, nats per token] pairs as JSON. Both
start from the same weights, see the same batches in the same order, keep documents apart in attention, and are measured
by the same function on the same held-out windows.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.training import data
from benchmarks.training.peers import trainer_arguments
from components.common.recipe import Training
from components.training import device as devices
from components.training.engine import VALIDATION_BATCH
from components.training.feeding import to_device
from components.training.order import evenly_spaced
from components.training.tasks.language_modeling import LanguageModeling

MEASURED = 10  # times
Curve = list[tuple[int, float]]


def hyperparameters(shape: data.Shape, steps: int) -> Training:
    """Those of recipes/python-lm.yaml; the cosine falls to 0, as the Trainer's does."""
    return Training(
        steps=steps,
        batch_size=shape.batch,
        learning_rate=3e-3,
        warmup=0.1,
        schedule="cosine",
        floor=0.0,
        weight_decay=0.1,
        evaluate_every=max(1, steps // MEASURED),
        checkpoint_seconds=1e9,
    )


def modelmill(task: LanguageModeling, settings: Training, scratch: Path) -> Curve:
    from components.common.store import open_store
    from components.training.checkpoint import Checkpoints
    from components.training.engine import train

    devices.reuse_freed_memory()
    devices.seed_everything(data.SEED)
    examples = [task.examples("pretraining", split) for split in data.SPLITS]
    checkpoints = Checkpoints(open_store(f"file://{scratch}/store"), "bench", scratch)
    model = data.first_model(task)
    result = train(model, task, *examples, settings, data.SEED, checkpoints, lambda *_: None)
    return [(int(row["step"]), row["validation_loss"]) for row in result.state.history if "validation_loss" in row]


def hugging_face_trainer(task: LanguageModeling, settings: Training, scratch: Path) -> Curve:
    from transformers import Trainer, TrainerCallback

    curve: Curve = []

    class Measured(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            if state.global_step % settings.evaluate_every == 0 or state.global_step == settings.steps:
                curve.append((state.global_step, _validation_loss(task, model, settings)))

    model = data.first_model(task)
    shape_batches = data.batches(task, "pretraining", int(settings.batch_size), settings.steps)
    trainer = Trainer(
        model,
        trainer_arguments(scratch, settings, lr_scheduler_type="cosine", warmup_steps=round(0.1 * settings.steps)),
        train_dataset=data.windows(shape_batches, positions=True),
        callbacks=[Measured],
    )
    trainer._get_train_sampler = lambda *_: None  # as they come
    trainer.train()
    return curve


@torch.no_grad()
def _validation_loss(task: LanguageModeling, model: torch.nn.Module, settings: Training) -> float:
    """As the engine measures it."""
    device = devices.pick_device()
    examples = task.examples("pretraining", "validation")
    total, terms = 0.0, 0
    model.eval()
    with devices.autocast(device, torch.bfloat16):
        for indices in evenly_spaced(len(examples), VALIDATION_BATCH, settings.validation_batches):
            batch = examples.batch(indices)
            terms += task.terms(batch)
            total += task.loss(model, to_device(batch, device)).item()
    model.train()
    return total / terms


PEERS = {"modelmill": modelmill, "Hugging Face Trainer": hugging_face_trainer}


def main(name: str, shape: str, corpus: str, steps: str) -> None:
    its = data.SHAPES[shape]
    with tempfile.TemporaryDirectory() as scratch:
        curve = PEERS[name](data.open_task(Path(corpus), its), hyperparameters(its, int(steps)), Path(scratch))
    print(json.dumps(curve))


if __name__ == "__main__":
    main(*sys.argv[1:])
