"""Any encoder that transformers has tags words as it has it, fed in batches, and serves what was trained."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer

from modelmill.tasks.token_classification import bio
from modelmill.tasks.token_classification.serve import TokenClassifier
from modelmill.tasks.token_classification.task import TokenClassification
from tests.pretrained import encoders, tagging
from tests.pretrained.tagging import TEXTS

TESTED = ["albert", "bert", "deberta-v2", "distilbert", "electra", "modernbert", "mpnet", "roberta", "xlm-roberta"]


@torch.no_grad()
def as_transformers(folder: Path) -> list[torch.Tensor]:
    """The logits of each text's tokens, by itself, with the model's own tokenizer."""
    model = AutoModelForTokenClassification.from_pretrained(folder, attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return [model(**tokenizer(" ".join(words), return_tensors="pt")).logits[0] for words, _ in TEXTS]


@torch.no_grad()
def in_batches(task: TokenClassification, model: torch.nn.Module) -> list[torch.Tensor]:
    examples = task.examples("fine_tuning", "train")
    batch = examples.batch(np.arange(len(examples)))
    logits = task.logits_of(model.eval(), batch)
    return [one[:length] for one, length in zip(logits, batch["attention_mask"].sum(1).tolist(), strict=True)]


@pytest.mark.parametrize("family", TESTED)
def test_a_batch_gives_what_transformers_gives_each_text(family: str, tmp_path: Path) -> None:
    task, folder = tagging.task_of(family, tmp_path)
    model = task.load(folder)
    expected = as_transformers(folder)
    for mine, theirs in zip(in_batches(task, model), expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4 * theirs.abs().max().item())
    assert task.notes["head"] == "the checkpoint's"
    (tmp_path / "saved").mkdir()
    task.save(model, tmp_path / "saved")
    served = TokenClassifier()
    served.load_context(SimpleNamespace(artifacts={"model": str(tmp_path / "saved")}))
    examples = task.examples("fine_tuning", "train")
    for number, logits in enumerate(in_batches(task, model)):
        scores = torch.log_softmax(logits.double(), -1).numpy()
        mine = bio.of_words(scores, examples.places(number), task.classes)
        np.testing.assert_allclose(served.scores(examples.words(number)), mine, atol=1e-4)


def test_the_loss_is_that_of_transformers_for_first_tokens(tmp_path: Path) -> None:
    task, folder = tagging.task_of("bert", tmp_path)
    model = task.load(folder).eval()
    examples = task.examples("fine_tuning", "train")
    batch = examples.batch(np.arange(len(examples)))
    theirs = AutoModelForTokenClassification.from_pretrained(folder).eval()(**batch).loss.item()
    assert task.terms(batch) == sum(len(words) for words, _ in TEXTS)
    assert task.loss(model, batch).item() / task.terms(batch) == pytest.approx(theirs, rel=1e-5)
    assert [[task.classes[tag] for tag in examples.tags(n)] for n in range(len(examples))] == [t for _, t in TEXTS]


def test_first_tokens_are_those_of_run_ner(tmp_path: Path) -> None:
    task, folder = tagging.task_of("bert", tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    examples = task.examples("fine_tuning", "train")
    labels = examples.batch(np.arange(len(examples)))["labels"]
    for number, (words, tags) in enumerate(TEXTS):
        numbers = tokenizer(words, is_split_into_words=True).word_ids()
        expected = [
            task.classes.index(tags[word]) if word is not None and word != numbers[place - 1] else -100
            for place, word in enumerate(numbers)
        ]
        assert labels[number, : len(numbers)].tolist() == expected


def test_a_new_head_for_new_tags_and_answers_with_places(tmp_path: Path) -> None:
    encoders.write("roberta", tmp_path / "model", "AutoModelForMaskedLM")
    task = tagging.task_over(tmp_path / "model", tmp_path)
    model = task.load(tmp_path / "model")
    assert task.notes["head"] == "new"
    (tmp_path / "saved").mkdir()
    with torch.no_grad():
        model.classifier.bias.copy_(torch.tensor([0.0, 50.0, 0.0, 0.0, 0.0]))
    task.save(model, tmp_path / "saved")
    served = TokenClassifier()
    served.load_context(SimpleNamespace(artifacts={"model": str(tmp_path / "saved")}))
    text = "One, two"
    (first, second) = served.predict(None, pd.DataFrame({"text": [text, ""]}))["entities"]
    assert [(one["kind"], one["text"]) for one in first] == [("a", "One"), ("a", ","), ("a", "two")] and second == []
    assert all(text[one["start"] : one["end"]] == one["text"] and one["score"] > 0.99 for one in first)
