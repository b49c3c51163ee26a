"""A model of any family computes in training what transformers computes, a document at a time."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoModelForCausalLM

from modelmill.models.cross_entropy import IGNORED
from modelmill.tasks.language_modeling.packed_windows import PackedTokens
from modelmill.tasks.language_modeling.task import LanguageModeling
from tests import families
from tests.packed import language_task

LENGTH = 32
# Several in a window, one of a token, and one that is cut at windows' ends.
SIZES = (5, 1, 21, 2, 60, 4)


def task_of(folder: Path) -> LanguageModeling:
    """A task over random documents, whose tokenizer has the ids of a tiny model."""
    random = np.random.default_rng(0)
    task = language_task(folder, [random.integers(1, families.VOCABULARY, size).tolist() for size in SIZES], LENGTH)
    tokenizer = Tokenizer(WordLevel({f"t{n}": n for n in range(families.VOCABULARY)}, "t0"))
    tokenizer.save(str(folder / "tokenizer.json"))
    task.files["tokenizer/tokenizer.json"] = folder / "tokenizer.json"
    return task


@torch.no_grad()
def alone(folder: Path, examples: PackedTokens) -> torch.Tensor:
    """The losses that transformers computes of each document in each window by itself, (windows, length)."""
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    batch = examples.batch(np.arange(len(examples)))
    losses = torch.zeros(batch["labels"].shape)
    for window, positions in enumerate(batch["position_ids"]):
        begins = [*torch.nonzero(positions == 0).flatten().tolist(), len(positions)]
        for first, last in itertools.pairwise(begins):
            labels = batch["labels"][window, first:last]
            if (labels == IGNORED).all():
                continue
            logits = model(batch["input_ids"][None, window, first:last], use_cache=False).logits[0].float()
            losses[window, first:last] = F.cross_entropy(logits, labels, reduction="none", ignore_index=IGNORED)
    return losses


@pytest.mark.parametrize("family", families.TESTED)
def test_the_losses_are_those_of_each_document_alone(family: str, tmp_path: Path) -> None:
    families.model_of(family).save_pretrained(tmp_path / "model")
    task = task_of(tmp_path)
    model = task.load(tmp_path / "model").eval()
    examples = task.examples("pretraining", "train")
    batch = examples.batch(np.arange(len(examples)))
    expected = alone(tmp_path / "model", examples)
    assert expected.max() > 1
    assert (task.losses(model, batch) - expected).abs().max() < 1e-4, task.notes
    assert task.loss(model, batch).item() == pytest.approx(expected.sum().item(), rel=1e-5)
