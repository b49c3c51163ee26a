"""Texts with any number of labels, with numbers, and in pairs: learned, measured and served."""

import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from modelmill.store import manifest
from modelmill.store.manifest import Manifest
from modelmill.tasks.text_classification import register
from modelmill.tasks.text_classification.losses import loss
from modelmill.tasks.text_classification.serve import TextClassifier
from tests import recipes
from tests.component.steps import Steps
from tests.pretrained import encoders

WORDS = ["oslo", "rome", "lima", "bern", "kyiv", "doha", "riga"]
RECIPE = {
    "name": "tiny-kinds",
    "task": "text_classification",
    "seed": 1,
    "data": {"path": "texts.jsonl", "suite": "suite.json"},
    "preprocessing": {"validation": 0.15, "test": 0.2, "sequence_length": 16, "tokenizer": {"vocab_size": 300}},
    "model": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64},
    "pretraining": "none",
    "fine_tuning": {"steps": 160, "batch_size": 32, "learning_rate": 0.003, "warmup": 0.2, "evaluate_every": 40},
    "evaluation": {"comparison": {"too_few": "thresholds"}},
    "registration": {"model": "tiny-kinds"},
}
TEXTS = [f"{a} and {b} and {c}" for a, b, c in itertools.permutations(WORDS, 3)]
DATA: dict[str, list[dict[str, Any]]] = {
    "multi": [{"text": text, "label": [word for word in WORDS[:2] if word in text]} for text in TEXTS],
    "number": [{"text": text, "label": 9000.0 + 500 * ("oslo" in text) - 200 * ("rome" in text)} for text in TEXTS],
    "pair": [
        {"text": a, "other": f"{b} {c}", "label": "yes" if c in ("oslo", "bern", "doha") else "no"}
        for a, b, c in itertools.permutations(WORDS, 3)
    ],
}
SETTINGS = {
    "multi": {"label_kind": "multi"},
    "number": {"label_kind": "number"},
    "pair": {"text_pair": "other"},
}


def run(folder: Path, kind: str, **changes: Any) -> tuple[Steps, Manifest, Manifest]:
    """The steps, the fine-tuned model and its evaluation."""
    recipe = recipes.write(folder, RECIPE, **{f"preprocessing__{key}": value for key, value in SETTINGS[kind].items()})
    recipes.change(recipe, **changes)
    (folder / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in DATA[kind]))
    steps = Steps(recipe, folder / "steps")
    corpus = steps.corpus()
    pretrained = steps.pretrained(corpus)
    model = steps.tuned(corpus, pretrained)
    return steps, model, steps.evaluated(corpus, pretrained, model)


def file(steps: Steps, made: Manifest, name: str) -> Any:
    return json.loads(manifest.read_entry(steps.store, made.entry(name)))


def served(steps: Steps, model: Manifest, *rows: dict[str, str]) -> list[dict[str, Any]]:
    folder = steps.folder_of(model, "model")
    answering = TextClassifier()
    answering.load_context(SimpleNamespace(artifacts={"model": str(folder)}))
    answers = answering.predict(None, pd.DataFrame(list(rows)))
    signature, example = register.interface(folder, {})
    assert signature.inputs.input_names() == list(rows[0]) == list(example.columns)
    assert signature.outputs.input_names() == list(answers.columns)
    return [dict(row) for row in answers.to_dict("records")]


@pytest.mark.parametrize(
    ("problem", "labels"),
    [
        ("single_label_classification", torch.tensor([2, 0, 1, 1])),
        ("multi_label_classification", torch.tensor([[1.0, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]])),
        ("regression", torch.tensor([0.5, -1.0, 2.0, 0.0])),
    ],
)
def test_losses_are_those_of_transformers(problem: str, labels: torch.Tensor) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    outputs = 1 if problem == "regression" else 3
    config = BertConfig(vocab_size=9, problem_type=problem, num_labels=outputs, **sizes)
    model = BertForSequenceClassification(config).eval()
    made = model(input_ids=torch.arange(8).reshape(4, 2), labels=labels)
    assert loss(made.logits, labels).item() / 4 == pytest.approx(made.loss.item(), rel=1e-5)


def test_any_number_of_labels(tmp_path: Path) -> None:
    steps, model, made = run(tmp_path, "multi", evaluation__gate={"f1": {"min": 0.9}}, evaluation__baseline=False)
    assert made.info["passed"], made.info["metrics"]
    assert [row["class"] for row in file(steps, made, "classes.json")] == ["all", *sorted(WORDS[:2])]
    first, second = served(steps, model, {"text": "rome and kyiv and oslo"}, {"text": "bern and kyiv and doha"})
    assert sorted(first["labels"]) == ["oslo", "rome"] and all(one > 0.5 for one in first["probabilities"])
    assert second == {"labels": [], "probabilities": []}
    config = json.loads((steps.folder_of(model, "model") / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification"


def test_numbers_in_their_own_units(tmp_path: Path) -> None:
    steps, model, made = run(tmp_path, "number", evaluation__gate={"rmse": {"max": 150}}, evaluation__baseline=False)
    assert made.info["passed"], made.info["metrics"]
    (answer,) = served(steps, model, {"text": "lima and kyiv and oslo"})
    assert answer["value"] == pytest.approx(9500, abs=150)
    shown = file(steps, made, "samples.json")[0]["parts"]
    assert float(shown["expected"]) > 8000 and float(shown["found"]) > 8000


def test_pairs_are_read_together(tmp_path: Path) -> None:
    steps, model, made = run(tmp_path, "pair", evaluation__gate={"accuracy": {"min": 0.9}}, evaluation__baseline=False)
    assert made.info["passed"], made.info["metrics"]
    yes, no = {"text": "rome", "text_pair": "lima oslo"}, {"text": "oslo", "text_pair": "oslo rome"}
    assert [answer["label"] for answer in served(steps, model, yes, no)] == ["yes", "no"]
    assert file(steps, made, "samples.json")[0]["parts"].keys() == {"text", "text_pair", "expected", "found"}


@pytest.mark.parametrize("kind", ["multi", "number", "pair"])
def test_a_checkpoint_learns_each_kind(kind: str, tmp_path: Path) -> None:
    encoders.write("bert", tmp_path / "model", "AutoModel")
    changes = {
        "model": {"type": "auto"},
        "preprocessing__tokenizer": {},
        "pretraining": {"init": "model", "steps": 0, "learning_rate": 0.1},
        "fine_tuning__steps": 5,
        "preprocessing__sequence_length": 24,
        "evaluation__baseline": False,
    }
    steps, model, made = run(tmp_path, kind, **changes)
    asked = {"text": "oslo and rome"} | ({"text_pair": "lima"} if kind == "pair" else {})
    (answer,) = served(steps, model, asked)
    assert (
        answer.keys()
        == {"multi": {"labels", "probabilities"}, "number": {"value"}, "pair": {"label", "probability"}}[kind]
    )
    assert made.info["metrics"]["loss"] >= 0
