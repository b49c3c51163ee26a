"""What every peer trains on: the windows of SmolLM2's chat pairs, from the same weights, in the same order."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modelmill.recipe import Training
from modelmill.recipe.adapters import AdaptedFineTuning, Lora
from modelmill.store.manifest import Manifest
from modelmill.tasks.contract import Batch
from modelmill.tasks.language_modeling.task import LanguageModeling
from modelmill.training.loop.order import BatchOrder

SEED = 0
LORA = AdaptedFineTuning(steps=1, learning_rate=1e-3, method="lora", lora=Lora(rank=8, alpha=16.0))
# A usual rate of each stage.
RATES = {"lora": 1e-3, "full": 5e-5}
SHARDS = 8


def write(folder: Path, model: Path, length: int) -> Path:
    """Write the docstring pairs of Python's standard library, packed as preprocessing does; return their folder.

    Args:
        folder: Folder to write into.
        model: Folder of the model, whose tokenizer and chat template are taken.
        length: Tokens of a window.
    """
    from modelmill.corpus.text.encoding import encode
    from modelmill.corpus.text.settings import LanguagePreprocessing
    from modelmill.data import shards
    from modelmill.pipelines import demo_data

    packed = folder / f"chats-{length}"
    if packed.exists():
        return packed
    demo_data.write("python-lm", folder / "python-lm", SHARDS)
    chosen = LanguagePreprocessing.model_validate(
        {
            "split_by": "path",
            "sequence_length": length,
            "tokenizer": {"from": str(model)},
            "pairs": {"from": "python_docstrings", "framing": "chat"},
        }
    )
    for shard in shards.find(str(folder / "python-lm"), "jsonl"):
        encode(shard, shard.tag, chosen, model, folder / "unfinished" / shard.tag)
    (folder / "unfinished").rename(packed)
    return packed


def open_task(corpus: Path, model: Path, length: int) -> LanguageModeling:
    """Return our task over a packed corpus.

    Args:
        corpus: Folder of the packed corpus.
        model: Folder of the model.
        length: Tokens of a window.
    """
    files = {f"{f.parent.name}/{f.parent.parent.name}/{f.name}": f for f in sorted(corpus.glob("*/*/*.npy"))}
    files["tokenizer/tokenizer.json"] = model / "tokenizer.json"
    config = json.loads((model / "config.json").read_text())
    info = {"sequence_length": length, "vocab_size": config["vocab_size"], "end_of_text": config["eos_token_id"]}
    return LanguageModeling(Manifest(kind="corpus", info=info), files, None)


def settings(stage: str, batch: int, steps: int, **others: Any) -> Training:
    """Return the hyperparameters.

    Args:
        stage: `lora` or `full`.
        batch: Windows of a batch.
        steps: Steps to train.
        **others: More settings.
    """
    return Training(
        steps=steps,
        batch_size=batch,
        learning_rate=RATES[stage],
        weight_decay=0.0,
        evaluate_every=steps,
        validation_batches=1,
        checkpoint_seconds=1e9,
        **others,
    )


def batches(task: LanguageModeling, batch: int, steps: int) -> list[Batch]:
    """Return the batches of the first steps, in the engine's order.

    Args:
        task: The task over the corpus.
        batch: Windows of a batch.
        steps: How many steps.
    """
    examples = task.examples("fine_tuning", "train")
    order = BatchOrder(len(examples), batch, SEED)
    return [examples.batch(order.indices(step)) for step in range(steps)]


def rows(made: list[Batch], apart: bool) -> list[dict[str, list[int]]]:
    """Return the windows of batches one by one, as TRL packs them.

    TRL shifts labels itself. A window's last label, of the token after the window, is none of its.

    Args:
        made: The batches.
        apart: Whether TRL is told where each conversation begins.
    """
    return [_row(batch, number, apart) for batch in made for number in range(len(batch["labels"]))]


def _row(batch: Batch, number: int, apart: bool) -> dict[str, list[int]]:
    labels = batch["labels"][number]
    row = {
        "input_ids": batch["input_ids"][number].tolist(),
        "labels": torch.cat([labels.new_full((1,), -100), labels[:-1]]).tolist(),
    }
    if apart:
        begins = torch.nonzero(batch["position_ids"][number] == 0).flatten().numpy()
        row["seq_lengths"] = np.diff([*begins, len(labels)]).tolist()
    return row
