"""A classifier of texts through all steps, on texts whose label is in the order of their words."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from tests import cli, recipes
from tests.pipeline.conftest import Finished, finish, kfp_reuses_all

WORDS = ["oslo", "rome", "lima", "bern", "kyiv", "doha", "riga", "male", "apia", "suva", "hanoi", "quito"]
TRAINING = {"batch_size": 32, "learning_rate": 0.005, "evaluate_every": 20, "warmup": 0.1}
RECIPE = {
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
    },
    "model": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64},
    "pretraining": {"steps": 40, **TRAINING},
    "fine_tuning": {"steps": 120, **TRAINING},
    "evaluation": {"gate": {"accuracy": {"min": 0.8}}, "comparison": {"too_few": "thresholds"}},
    "registration": {"model": "tiny-text"},
}


def rows() -> list[dict[str, str]]:
    """A row for each two places and verb; what TF-IDF sees of it is there once with each label."""
    verbs = ("before", "then", "and", "via", "past")
    return [
        {"text": f"{a} {verb} {b}", "kind": "up" if WORDS.index(a) < WORDS.index(b) else "down"}
        for a, b in itertools.permutations(WORDS, 2)
        for verb in verbs
    ]


def write(folder: Path, data: list[dict[str, Any]], **changes: Any) -> Path:
    """Texts, and the recipe beside them."""
    (folder / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in data))
    return recipes.write(folder, RECIPE, **changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return finish(write(tmp_path_factory.mktemp("texts"), rows()))


def test_kfps_runner_reuses_what_the_local_one_made(finished: Finished, tmp_path: Path) -> None:
    kfp_reuses_all(finished, tmp_path)


def test_it_learns_what_tf_idf_cannot_answers_and_shows_samples(finished: Finished) -> None:
    checks = finished.evaluation("gate.json")["checks"]
    beaten = {(check["metric"], check.get("baseline", "").split(" of ")[0]) for check in checks if check["passed"]}
    assert {("loss", "the shares"), ("loss", "TF-IDF"), ("accuracy", "TF-IDF")} <= beaten
    answered = finished.predict({"text": "oslo via quito"}, {"text": "suva via oslo"})
    assert [json.loads(line)["label"] for line in answered.stdout.splitlines()] == ["up", "down"], answered.stderr
    shown = finished.evaluation("samples.json")
    assert len(shown) == 10 and all(one["parts"]["text"] in finished.page for one in shown)


def test_a_label_that_is_no_class_is_one_line(tmp_path: Path) -> None:
    data = [*rows(), {"text": "oslo via rome", "kind": "sideways"}]
    recipe = write(tmp_path, data, preprocessing__labels=["up", "down"])
    done = cli.modelmill("run", recipe, "--store", f"file://{tmp_path}/store")
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if "preprocessing." in line]
    assert "'sideways' of row 661" in line and "unknown_label: drop" in line and "Traceback" not in done.stderr
