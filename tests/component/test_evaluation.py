"""The evaluation component: metrics that another computation agrees with, and the gate."""

import io
import json
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file
from sklearn.metrics import accuracy_score, roc_auc_score
from transformers import AutoModelForCausalLM, AutoTokenizer

from modelmill import recipe as recipes
from modelmill.components.evaluation.gate import judge
from modelmill.corpus.split import split_of
from modelmill.measures.evaluation_result import Baseline
from modelmill.measures.ngrams import NGrams
from modelmill.store import manifest
from modelmill.store.manifest import Manifest
from modelmill.tasks.language_modeling.measuring import baselines
from tests.component.steps import Steps
from tests.recipes import language_recipe, source_file, table_recipe, write_corpus, write_table


def table(folder: Path, *overrides: str) -> tuple[Steps, Manifest, Manifest, Manifest]:
    """Steps, corpus, the absent pretrained model and the trained one."""
    steps = Steps(table_recipe(folder, write_table(folder / "data")), folder / "steps", *overrides)
    corpus = steps.corpus()
    nothing = steps.pretrained(corpus)
    return steps, corpus, nothing, steps.tuned(corpus, nothing)


def test_table_metrics_are_those_of_the_saved_weights(tmp_path: Path) -> None:
    steps, corpus, nothing, model = table(tmp_path, "fine_tuning.steps=12")
    made = steps.evaluated(corpus, nothing, model)
    settings = recipes.from_json(steps.recipe).preprocessing
    rows = [line.split(",") for line in (tmp_path / "data" / "table.csv").read_text().splitlines()[1:]]
    identity = [json.dumps([float(r[1]), float(r[2]), r[3]]) for r in rows]
    held_out = [r for r, name in zip(rows, identity, strict=True) if split_of(name, settings) == "test"]
    folder = steps.folder_of(model, "model")
    weights, scaler = load_file(folder / "model.safetensors"), json.loads((folder / "scaler.json").read_text())
    features = (np.array([[float(r[1]), float(r[2])] for r in held_out]) - scaler["mean"]) / scaler["scale"]
    hidden = 1 / (1 + np.exp(-(features @ weights["layers.0.weight"].T + weights["layers.0.bias"])))
    probability = 1 / (1 + np.exp(-(hidden @ weights["layers.1.weight"].T + weights["layers.1.bias"])[:, 0]))
    truth = np.array([r[3] == "small" for r in held_out])
    metrics = made.info["metrics"]
    assert metrics["accuracy"] == pytest.approx(accuracy_score(truth, probability > 0.5))
    assert metrics["roc_auc"] == pytest.approx(roc_auc_score(truth, probability))
    loss = -np.mean(np.where(truth, np.log(probability), np.log(1 - probability)))
    assert metrics["loss"] == pytest.approx(loss, rel=1e-4)
    confusion = json.loads(manifest.read_entry(steps.store, made.entry("confusion.json")))
    assert confusion["classes"] == ["big", "small"]
    assert np.sum(confusion["matrix"], axis=1).tolist() == [int((~truth).sum()), int(truth.sum())]


@pytest.mark.parametrize(("least", "passed"), [(0.7, True), (1.01, False)])
def test_the_gate_is_returned_to_the_dag_and_kept(least: float, passed: bool, tmp_path: Path) -> None:
    steps, corpus, nothing, model = table(tmp_path, f"evaluation.gate.accuracy.min={least}")
    made = steps.evaluated(corpus, nothing, model)
    assert steps.value is passed
    assert made.info["passed"] is passed
    check = json.loads(manifest.read_entry(steps.store, made.entry("gate.json")))["checks"][0]
    assert (check["metric"], check["min"], check["passed"]) == ("accuracy", least, passed)
    assert steps.record("evaluation").headline.endswith("passed" if passed else "gate failed")


def test_a_bounded_metric_that_was_not_measured_fails_the_gate() -> None:
    assert judge({"accuracy": 0.9}, {"accuracy": {"min": 0.8}})["passed"]
    assert not judge({"accuracy": 0.7}, {"accuracy": {"min": 0.8}})["passed"]
    assert not judge({"loss": 2.0}, {"loss": {"max": 1.0}})["passed"]
    assert not judge({}, {"accuracy": {"min": 0.8}})["passed"]
    assert judge({"accuracy": 0.1}, {})["passed"]


def test_a_baseline_must_be_exceeded() -> None:
    for value, passed in ((0.5, False), (0.6, True), (0.4, False)):
        assert Baseline("accuracy", "chance", value, least=0.5).check["passed"] is passed
    for value, passed in ((0.5, False), (0.4, True), (0.6, False)):
        assert Baseline("loss", "chance", value, most=0.5).check["passed"] is passed


def test_a_baseline_with_an_interval_must_be_exceeded_by_more_than_chance() -> None:
    for low, passed in ((0.1, True), (0.0, False), (-0.1, False)):
        check = Baseline("loss", "the base", 0.4, most=0.5, better_by=(low, 0.3)).check
        assert check["passed"] is passed and check["better_by"] == [low, 0.3]


def test_language_metrics_are_those_of_the_documents_one_by_one(tmp_path: Path) -> None:
    steps = Steps(language_recipe(tmp_path, write_corpus(tmp_path / "data")), tmp_path / "steps")
    corpus = steps.corpus()
    pretrained = steps.pretrained(corpus)
    tuned = steps.tuned(corpus, pretrained)
    made = steps.evaluated(corpus, pretrained, tuned)
    assert made.info["metrics"]["bits_per_byte"] == pytest.approx(by_hand(steps, pretrained), rel=0.03)
    assert made.info["metrics"]["loss_after"] < made.info["metrics"]["loss_before"]
    samples = json.loads(manifest.read_entry(steps.store, made.entry("samples.json")))
    assert len(samples) == 1
    parts = samples[0]["parts"]
    assert parts["expected"].startswith("Multiply the value")
    assert "def scale_" in parts["prompt"] and '"""' not in parts["prompt"]


def test_a_language_model_must_beat_counts_and_what_it_was_before_fine_tuning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = language_recipe(tmp_path, write_corpus(tmp_path / "data"), evaluation={"comparison": "none"})
    steps = Steps(recipe, tmp_path / "steps")
    corpus = steps.corpus()
    pretrained = steps.pretrained(corpus)
    made = steps.evaluated(corpus, pretrained, steps.tuned(corpus, pretrained))
    checks = json.loads(manifest.read_entry(steps.store, made.entry("gate.json")))["checks"]
    metrics = made.info["metrics"]
    bounds = {(check["metric"], check["baseline"]): check["max"] for check in checks}
    assert bounds == {
        ("bits_per_byte", "the frequencies of the tokens"): pytest.approx(counted(steps, pretrained, 1)),
        ("bits_per_byte", "2-grams of tokens"): pytest.approx(counted(steps, pretrained, 2)),
        ("loss_after", "before fine-tuning"): metrics["loss_before"],
    }
    assert [check["passed"] for check in checks] == [True, False, True] and steps.value is False
    monkeypatch.setattr(baselines, "COUNTED", 100)
    again = Steps(recipe, tmp_path / "steps", "evaluation.samples=0")
    made = again.evaluated(corpus, pretrained, again.tuned(corpus, pretrained))
    checks = json.loads(manifest.read_entry(steps.store, made.entry("gate.json")))["checks"]
    assert checks[0]["max"] == pytest.approx(counted(steps, pretrained, 1, 100)), "all that is held out is predicted"


def counted(steps: Steps, pretrained: Manifest, order: int, most: int | None = None) -> float:
    """Bits per byte of n-grams in the held-out files, as the tokenizer has them and each with its end, counted in the
    first training tokens.
    """
    tokenizer = AutoTokenizer.from_pretrained(steps.folder_of(pretrained, "model"))
    preprocessing = recipes.from_json(steps.recipe).preprocessing
    files: dict[str, list[str]] = {}
    for n in sorted(range(120), key=lambda n: n % 3):  # by shard
        files.setdefault(split_of(f"pkg/file_{n}.py", preprocessing), []).append(source_file(n))
    end = tokenizer.eos_token_id
    texts = {
        split: [[*tokenizer(text, add_special_tokens=False).input_ids, end] for text in files[split]]
        for split in ("train", "test")
    }
    streams = {
        split: (np.concatenate(found).astype(np.int64), np.cumsum([0, *map(len, found)]))
        for split, found in texts.items()
    }
    tokens, offsets = streams["train"]
    cut = tokens[:most], np.unique(np.minimum(offsets, len(tokens[:most])))
    losses = NGrams(*cut, order, len(tokenizer)).losses(*streams["test"])
    return float(losses.sum()) / math.log(2) / sum(len(text.encode()) for text in files["test"])


def test_without_documents_responses_must_beat_n_grams_and_the_base_by_more_than_chance(tmp_path: Path) -> None:
    evaluation = {"comparison": "none", "documents": False, "ngram_order": 5, "samples": 0}
    steps = Steps(language_recipe(tmp_path, write_corpus(tmp_path / "data"), evaluation=evaluation), tmp_path / "steps")
    corpus = steps.corpus()
    pretrained = steps.pretrained(corpus)
    made = steps.evaluated(corpus, pretrained, steps.tuned(corpus, pretrained))
    assert set(made.info["metrics"]) == {"loss_before", "loss_after", "response_bits_per_byte"}
    counted, base = json.loads(manifest.read_entry(steps.store, made.entry("gate.json")))["checks"]
    assert counted["baseline"] == "5-grams of tokens of training responses" and base["baseline"] == "before fine-tuning"
    rows = pq.read_table(io.BytesIO(manifest.read_entry(steps.store, made.entry("examples.parquet")))).to_pylist()
    assert {row["set"] for row in rows} == {"pairs"}
    bits = {
        when: sum(row["loss"] for row in rows if row["model"] == when) / math.log(2) for when in ("before", "after")
    }
    size = sum(row["bytes"] for row in rows if row["model"] == "after")
    assert base["value"] == counted["value"] == pytest.approx(bits["after"] / size)
    assert base["max"] == pytest.approx(bits["before"] / size)
    for check in (counted, base):
        low, high = check["better_by"]
        assert low <= check["max"] - check["value"] <= high and check["passed"] is (low > 0)


@torch.no_grad()
def by_hand(steps: Steps, pretrained: Manifest) -> float:
    """Bits per byte of the held-out files, each read by itself in windows as long as the model was trained on.

    Where windows of a packed stream begin differs from this, so context differs for some tokens.
    """
    folder = steps.folder_of(pretrained, "model")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    recipe = recipes.from_json(steps.recipe)
    texts = [source_file(n) for n in range(120) if split_of(f"pkg/file_{n}.py", recipe.preprocessing) == "test"]
    end, length, nats = tokenizer.eos_token_id, 64, 0.0
    for text in texts:
        ids = [end, *tokenizer(text, add_special_tokens=False).input_ids, end]
        for begin in range(0, len(ids) - 1, length):
            window = torch.tensor([ids[begin : begin + length + 1]])
            logits = model(window[:, :-1]).logits[0]
            nats += float(torch.nn.functional.cross_entropy(logits, window[0, 1:], reduction="sum"))
    return nats / math.log(2) / sum(len(text.encode()) for text in texts)
