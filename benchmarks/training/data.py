"""What every peer trains: the same model from the same weights, on the same windows in the same order."""

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from benchmarks.tokens import data as text
from components.common import shards
from components.common.manifest import Manifest
from components.common.recipe import Training
from components.common.recipe.language_modeling import DecoderModel, LanguagePreprocessing, Lora
from components.preprocessing.encoding import encode
from components.training.order import BatchOrder
from components.training.task import Batch
from components.training.tasks.language_modeling import LanguageModeling

SEED = 0
SPLITS = ("train", "validation")
LORA = Lora(rank=8, alpha=16.0)


class Shape(NamedTuple):
    """A model, and the batch that it is given: `batch` windows of `length` tokens."""

    model: DecoderModel
    length: int
    batch: int
    vocabulary: int = text.VOCABULARY


def _decoder(hidden: int, layers: int, heads: int, intermediate: int) -> DecoderModel:
    return DecoderModel(
        hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=intermediate
    )


SHAPES = {
    "tiny": Shape(_decoder(32, 2, 2, 64), length=64, batch=4),
    "4M": Shape(_decoder(256, 4, 4, 704), length=256, batch=16),
    "30M": Shape(_decoder(512, 8, 8, 1536), length=512, batch=8),
    "124M": Shape(_decoder(768, 12, 12, 2048), length=1024, batch=16, vocabulary=50_304),
    "1B": Shape(_decoder(2048, 20, 16, 5504), length=2048, batch=8, vocabulary=32_000),
}
# What a user of such a machine would train.
SHAPES_OF_DEVICE = {"cpu": ["4M", "30M"], "cuda": ["124M", "1B"]}
SOURCE = {"pretraining": "documents", "lora": "pairs"}


def settings(shape: Shape, steps: int, **others: Any) -> Training:
    """The hyperparameters of a throughput run; our engine's names for them."""
    return Training(
        steps=steps,
        batch_size=shape.batch,
        learning_rate=1e-3,
        weight_decay=0.1,
        evaluate_every=steps,
        validation_batches=1,
        **({"checkpoint_seconds": 1e9} | others),
    )


def write(folder: Path, length: int) -> Path:
    """Python's standard library, and its docstrings as pairs, packed for windows of `length` tokens as preprocessing
    does it; returns the folder.
    """
    corpus = folder / f"packed-{length}"
    if corpus.exists():
        return corpus
    documents = text.write(folder, copies=1)
    chosen = LanguagePreprocessing.model_validate(
        {"split_by": "path", "sequence_length": length, "pairs": {"from": "python_docstrings"}}
    )
    unfinished = folder / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    for shard in shards.find(str(documents), "jsonl"):
        encode(shard, shard.tag, chosen, folder / "tokenizer", unfinished / shard.tag)
    unfinished.rename(corpus)
    return corpus


def open_task(corpus: Path, shape: Shape) -> LanguageModeling:
    """Our task over what `write` wrote."""
    files = {
        f"{file.parent.name}/{file.parent.parent.name}/{file.name}": file for file in sorted(corpus.glob("*/*/*.npy"))
    }
    info = {"sequence_length": shape.length, "vocab_size": shape.vocabulary, "end_of_text": 0}
    return LanguageModeling(Manifest(kind="corpus", info=info), files, shape.model)


def first_model(task: LanguageModeling) -> nn.Module:
    """The model with the weights that every peer starts from."""
    torch.manual_seed(SEED)
    return task.build()


def batches(task: LanguageModeling, stage: str, batch: int, steps: int) -> list[Batch]:
    """The batches of the first steps, in the engine's order, all in memory."""
    examples = task.examples("fine_tuning" if stage == "lora" else "pretraining", "train")
    order = BatchOrder(len(examples), batch, SEED)
    return [examples.batch(order.indices(step)) for step in range(steps)]


def windows(made: list[Batch], positions: bool = False) -> list[dict[str, torch.Tensor]]:
    """The same windows one by one, with the names that transformers gives them: our labels are shifted already.

    With `positions` transformers keeps the documents in a window apart, as we do; without, it is quicker.
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
    """The part of the tokens that the loss counts."""
    return float(np.mean([(batch["labels"] >= 0).float().mean().item() for batch in made]))
