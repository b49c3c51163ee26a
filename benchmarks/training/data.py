"""The training that every peer repeats: one model from the same weights, on the same windows in the same order."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from modelmill.recipe import Training
from modelmill.recipe.adapters import AdaptedFineTuning, Lora
from modelmill.store.manifest import Manifest
from modelmill.tasks.contract import Batch
from modelmill.tasks.language_modeling.packed_windows import PackedTokens
from modelmill.tasks.language_modeling.recipe import DecoderModel
from modelmill.tasks.language_modeling.task import LanguageModeling
from modelmill.training.device.hardware import pick_device
from modelmill.training.loop.order import BatchOrder

SEED = 0
LORA = AdaptedFineTuning(steps=1, learning_rate=1e-3, method="lora", lora=Lora(rank=8, alpha=16.0))


class Shape(NamedTuple):
    """A model and its batches.

    Attributes:
        model: The decoder.
        length: Tokens of a window.
        batch: Windows of a batch.
        vocabulary: Size of the vocabulary.
    """

    model: DecoderModel
    length: int
    batch: int
    vocabulary: int = 4096  # the tokenizer of benchmarks/tokens has as many; a larger model leaves ids unused


def _decoder(hidden: int, layers: int, heads: int, intermediate: int) -> DecoderModel:
    return DecoderModel(
        hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=intermediate
    )


SHAPES = {
    "tiny": Shape(_decoder(32, 2, 2, 64), length=64, batch=4),
    "4M": Shape(_decoder(256, 4, 4, 704), length=256, batch=16),
    "30M": Shape(_decoder(512, 8, 8, 1536), length=512, batch=8),
    "124M": Shape(_decoder(768, 12, 12, 2048), length=1024, batch=32, vocabulary=50_304),
    "1B": Shape(_decoder(2048, 20, 16, 5504), length=2048, batch=8, vocabulary=32_000),
}


def usual_shapes() -> list[str]:
    """Return the names of the shapes that a user of this machine would train."""
    return ["124M", "1B"] if torch.cuda.is_available() else ["4M", "30M"]


def device_name() -> str:
    """Return the name of the device to train on."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "the CPU"


def settings(shape: Shape, steps: int, **others: Any) -> Training:
    """Return the hyperparameters of a throughput run.

    Args:
        shape: The model and its batches.
        steps: Steps to train.
        **others: More settings.
    """
    return Training(
        steps=steps,
        batch_size=shape.batch,
        learning_rate=1e-3,
        weight_decay=0.1,
        evaluate_every=steps,
        validation_batches=1,
        **({"checkpoint_seconds": 1e9} | others),
    )


def open_task(corpus: Path, shape: Shape) -> LanguageModeling:
    """Return our task over a packed corpus.

    Args:
        corpus: Folder of the packed corpus.
        shape: The model and its batches.
    """
    files = {
        f"{file.parent.name}/{file.parent.parent.name}/{file.name}": file for file in sorted(corpus.glob("*/*/*.npy"))
    }
    info = {"sequence_length": shape.length, "vocab_size": shape.vocabulary, "end_of_text": 0}
    return LanguageModeling(Manifest(kind="corpus", info=info), files, shape.model)


def first_model(task: LanguageModeling) -> nn.Module:
    """Return the model with the weights that every peer starts from."""
    torch.manual_seed(SEED)
    with pick_device():
        return task.build()


def splits(task: LanguageModeling, stage: str) -> tuple[PackedTokens, PackedTokens]:
    """Return the training and the validation examples: documents, or pairs for LoRA.

    Args:
        task: The task over the corpus.
        stage: `pretraining` or `lora`.
    """
    source = "fine_tuning" if stage == "lora" else "pretraining"
    return task.examples(source, "train"), task.examples(source, "validation")


def batches(task: LanguageModeling, stage: str, batch: int, steps: int) -> list[Batch]:
    """Return the batches of the first steps, in the engine's order, all in memory.

    Args:
        task: The task over the corpus.
        stage: `pretraining` or `lora`.
        batch: Windows of a batch.
        steps: How many steps.
    """
    examples = splits(task, stage)[0]
    order = BatchOrder(len(examples), batch, SEED)
    return [examples.batch(order.indices(step)) for step in range(steps)]


def windows(made: list[Batch], positions: bool = False) -> list[dict[str, torch.Tensor]]:
    """Return the windows of batches one by one, with transformers' names; our labels are shifted already.

    Args:
        made: The batches.
        positions: Whether transformers keeps the documents in a window apart, as we do; it is quicker without.
    """
    return [_window(batch, row, positions) for batch in made for row in range(len(batch["labels"]))]


def _window(batch: Batch, row: int, positions: bool) -> dict[str, torch.Tensor]:
    labels = batch["labels"][row]
    window = {"input_ids": batch["input_ids"][row], "labels": labels, "shift_labels": labels}
    if positions:
        counted = batch.get("position_ids")
        window["position_ids"] = torch.arange(len(labels)) if counted is None else counted[row]
    return window


def learned(made: list[Batch]) -> float:
    """Return the share of the tokens that the loss counts."""
    return float(np.mean([(batch["labels"] >= 0).float().mean().item() for batch in made]))
