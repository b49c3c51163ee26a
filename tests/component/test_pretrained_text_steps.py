"""A checkpoint's encoder goes through the steps: adapters, a kill in the middle, an export, and answers."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from modelmill.store.manifest import Manifest
from modelmill.tasks.text_classification import serve
from tests import recipes
from tests.component.killed import kill_fine_tuning
from tests.component.steps import Steps
from tests.pretrained import encoders

LENGTH = 16
WORDS = ["one", "two", "six", "ten"]
RECIPE: dict[str, Any] = {
    "name": "tiny-auto",
    "task": "text_classification",
    "seed": 1,
    "data": {"path": "texts.jsonl", "suite": "suite.json"},
    "preprocessing": {"validation": 0.2, "test": 0.2, "sequence_length": LENGTH},
    "model": {"type": "auto"},
    "pretraining": {"init": "model", "steps": 0, "learning_rate": 0.1},
    "fine_tuning": {
        "method": "dora",
        "steps": 12,
        "batch_size": 8,
        "learning_rate": 0.01,
        "evaluate_every": 4,
        "group_by_length": True,
    },
    "evaluation": {"comparison": {"too_few": "thresholds"}},
    "registration": {"model": "tiny-auto"},
}


def write(folder: Path, family: str = "bert", **changes: Any) -> Path:
    """Texts whose label is their first word, a checkpoint without a head, and the recipe beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"text": f"{a} {b} {n}", "other": b, "label": a} for n in range(8) for a in WORDS[:2] for b in WORDS]
    (folder / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    encoders.write(family, folder / "model", head="AutoModel")
    return recipes.write(folder, RECIPE, **changes)


class Tuned:
    """A fine-tuning with what it was made of."""

    def __init__(self, folder: Path, *overrides: str) -> None:
        self.recipe = write(folder)
        self.steps = Steps(self.recipe, folder / "steps", *overrides)
        self.corpus = self.steps.corpus()
        self.pretrained = self.steps.pretrained(self.corpus)
        self.model = self.steps.tuned(self.corpus, self.pretrained)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    return Tuned(tmp_path_factory.mktemp("auto"), "fine_tuning.checkpoint_seconds=0")


def test_dora_with_a_new_head_that_is_killed_ends_with_the_same_bits(tuned: Tuned, tmp_path: Path) -> None:
    shutil.copytree(tuned.steps.folder / "store", tmp_path / "store")
    steps = Steps(tuned.recipe, tmp_path, "fine_tuning.checkpoint_seconds=0")
    for key in list(steps.store.list("memo/fine_tuning/")):
        steps.store.delete(key)
    steps.calls = tuned.steps.calls
    kill_fine_tuning(steps, tuned.corpus, tuned.pretrained, tmp_path)
    made = steps.tuned(tuned.corpus, tuned.pretrained)
    assert steps.record("fine_tuning").metrics["resumed_from_step"] > 0
    assert made.entries == tuned.model.entries


@torch.no_grad()
def test_what_is_served_is_what_transformers_answers(tuned: Tuned) -> None:
    folder = tuned.steps.folder_of(tuned.model, "model")
    texts = ["one two 3", "two", "six ten two one six ten two one six ten two"]
    served = serve.TextClassifier()
    served.load_context(SimpleNamespace(artifacts={"model": str(folder)}))
    answers = served.predict(None, pd.DataFrame({"text": texts}))
    model = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text, label, probability in zip(texts, answers["label"], answers["probability"], strict=True):
        logits = model(**tokenizer(text, truncation=True, max_length=LENGTH, return_tensors="pt")).logits[0]
        expected, best = logits.softmax(0).max(0)
        assert label == model.config.id2label[int(best)]
        assert probability == pytest.approx(float(expected), rel=1e-4)


def test_the_evaluation_has_the_baselines_of_the_same_labels(tuned: Tuned) -> None:
    evaluation = tuned.steps.evaluated(tuned.corpus, tuned.pretrained, tuned.model)
    assert evaluation.info["metrics"]["accuracy"] > 0.5
    assert np.isfinite(evaluation.info["metrics"]["loss"])


def test_an_export_as_onnx_answers_as_the_model_does(tuned: Tuned, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    session = pytest.importorskip("onnxruntime").InferenceSession
    made: Manifest = _exported(tuned, tmp_path)
    folder = tuned.steps.folder_of(made, "model")
    tokens = np.array([[2, 10, 11, 12, 3], [2, 13, 3, 0, 0]])
    (found,) = session(folder.parent / "onnx" / "model.onnx").run(None, {"input_ids": tokens})
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        expected = model(torch.tensor(tokens), attention_mask=torch.tensor(tokens != 0).long()).logits
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)


def _exported(tuned: Tuned, folder: Path) -> Manifest:
    steps = Steps(tuned.recipe, folder, "fine_tuning.onnx=true", "fine_tuning.steps=1", "fine_tuning.method=full")
    steps.store = tuned.steps.store
    made = steps.tuned(tuned.corpus, tuned.pretrained)
    tuned.steps.calls = max(tuned.steps.calls, steps.calls)
    return made


def test_types_of_tokens_are_not_exported_and_it_is_said(tmp_path: Path) -> None:
    """A second text has the type 1."""
    recipe = write(tmp_path, fine_tuning__onnx=True, fine_tuning__method="full", preprocessing__text_pair="other")
    steps = Steps(recipe, tmp_path / "steps")
    corpus = steps.corpus()
    pretrained = steps.pretrained(corpus)
    code, message = steps.fails("fine_tuning", ["model"], corpus=corpus, pretrained=pretrained)
    assert code == 2 and "fine_tuning.onnx: this model takes types of tokens, too" in message
