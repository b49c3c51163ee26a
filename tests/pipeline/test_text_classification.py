"""A classifier of texts through all steps, on texts whose label is in the order of their words."""

import itertools
import json
from pathlib import Path
from typing import Any

import yaml

from modelmill.store import manifest, open_store
from tests import cli
from tests.recipes import OPEN_SUITE

WORDS = ["oslo", "rome", "lima", "bern", "kyiv", "doha", "riga", "male", "apia", "suva", "hanoi", "quito"]


def rows() -> list[dict[str, str]]:
    """A row for each two places and verb; what TF-IDF sees of it is there once with each label."""
    verbs = ("before", "then", "and", "via", "past")
    return [
        {"text": f"{a} {verb} {b}", "kind": "up" if WORDS.index(a) < WORDS.index(b) else "down"}
        for a, b in itertools.permutations(WORDS, 2)
        for verb in verbs
    ]


def write_recipe(folder: Path, data: list[dict[str, Any]], **preprocessing: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in data))
    (folder / "suite.json").write_text(json.dumps(OPEN_SUITE))
    training = {"batch_size": 32, "learning_rate": 0.005, "evaluate_every": 20, "warmup": 0.1}
    recipe = {
        "name": "tiny-text",
        "task": "text_classification",
        "seed": 1,
        "data": {"path": "texts.jsonl", "suite": "suite.json"},
        "preprocessing": {
            "label": "kind",
            "validation": 0.15,
            "test": 0.15,
            "sequence_length": 12,
            "tokenizer": {"vocab_size": 400},
            **preprocessing,
        },
        "model": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64},
        "pretraining": {"steps": 40, **training},
        "fine_tuning": {"steps": 120, **training},
        "evaluation": {"gate": {"accuracy": {"min": 0.8}}, "comparison": {"too_few": "thresholds"}},
        "registration": {"model": "tiny-text"},
    }
    path = folder / "tiny-text.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def evaluation_of(store: Path, summary: dict[str, Any], name: str) -> Any:
    opened = open_store(f"file://{store}")
    made = next(step["output_digest"] for step in summary["steps"] if step["name"] == "evaluation")
    return json.loads(manifest.read_entry(opened, manifest.load(opened, made).entry(name)))


def test_it_learns_what_tf_idf_cannot_answers_and_shows_samples(tmp_path: Path) -> None:
    recipe, store = write_recipe(tmp_path, rows()), tmp_path / "store"
    summary = cli.run_json(recipe, store)
    assert summary["returncode"] == 0, summary["stderr"]
    checks = evaluation_of(store, summary, "gate.json")["checks"]
    beaten = {(check["metric"], check.get("baseline", "").split(" of ")[0]) for check in checks if check["passed"]}
    assert {("loss", "the shares"), ("loss", "TF-IDF"), ("accuracy", "TF-IDF")} <= beaten
    asked = tmp_path / "asked.jsonl"
    asked.write_text('{"text": "oslo via quito"}\n{"text": "suva via oslo"}\n')
    answered = cli.modelmill("predict", "tiny-text", asked, "--store", f"file://{store}")
    assert [json.loads(line)["label"] for line in answered.stdout.splitlines()] == ["up", "down"], answered.stderr
    page = Path(summary["report"].removeprefix("file://")).read_text("utf-8")
    shown = evaluation_of(store, summary, "samples.json")
    assert len(shown) == 10 and all(one["parts"]["text"] in page for one in shown)


def test_a_label_that_is_no_class_is_one_line(tmp_path: Path) -> None:
    data = [*rows(), {"text": "oslo via rome", "kind": "sideways"}]
    recipe = write_recipe(tmp_path, data, labels=["up", "down"])
    done = cli.modelmill("run", recipe, "--store", f"file://{tmp_path}/store")
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if "preprocessing." in line]
    assert "'sideways' of row 661" in line and "unknown_label: drop" in line and "Traceback" not in done.stderr
