"""Texts with any number of labels, and pairs of texts with a number, through all steps."""

import json
from typing import Any

import pytest

from tests import cli, recipes
from tests.pipeline.conftest import Finished, finish
from tests.pipeline.test_text_classification import RECIPE, TRAINING, WORDS, rows

LABELS = ["oslo", "up"]
KINDS: dict[str, dict[str, Any]] = {
    "tiny-multi": {
        "preprocessing__label": "labels",
        "preprocessing__label_kind": "multi",
        "evaluation__gate": {"f1": {"min": 0.8}},
    },
    "tiny-number": {
        "preprocessing__label": "steps",
        "preprocessing__label_kind": "number",
        "preprocessing__text_pair": "end",
        "preprocessing__text": "start",
        "evaluation__gate": {"r2": {"min": 0.5}},
        # Ridge regression knows the numbers exactly.
        "evaluation__baseline": False,
    },
}


def labelled() -> list[dict[str, Any]]:
    """Two places in a text and by themselves; whether the way goes up, whether it is Oslo's, and a number."""
    made = []
    for row in rows():
        start, _, end = row["text"].split()
        labels = [label for label, has in zip(LABELS, ("oslo" in row["text"], row["kind"] == "up"), strict=True) if has]
        steps = 900.0 + 100 * (WORDS.index(start) >= 6) - 50 * (WORDS.index(end) >= 6)
        made.append({"text": row["text"], "start": start, "end": end, "labels": labels, "steps": steps})
    return made


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Finished]:
    """A run of each kind on the same file in the same store, so that the second reuses the first one's validation."""
    folder = tmp_path_factory.mktemp("kinds")
    (folder / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in labelled()))
    fast = {"pretraining": "none", "fine_tuning": {"steps": 160, **TRAINING}, "evaluation__samples": 3}
    made = {}
    for name, changes in KINDS.items():
        recipe = recipes.write(folder, RECIPE, name=name, registration={"model": name}, **fast, **changes)
        made[name] = finish(recipe)
    return made


def beaten(run: Finished) -> set[tuple[str, str]]:
    """Metrics that passed their check, each with the first word of its baseline."""
    checks = run.evaluation("gate.json")["checks"]
    assert all(check["passed"] for check in checks), checks
    return {(check["metric"], check["baseline"].split()[0]) for check in checks if "baseline" in check}


def test_any_number_of_labels_beat_the_baseline_and_are_served(runs: dict[str, Finished]) -> None:
    run = runs["tiny-multi"]
    assert {("loss", "TF-IDF"), ("f1", "TF-IDF")} <= beaten(run)
    assert [row["class"] for row in run.evaluation("classes.json")] == ["all", *LABELS]
    assert "By class" in run.page
    answered = run.predict({"text": "rome via bern"}, {"text": "oslo then suva"}, {"text": "suva then oslo"})
    found = [json.loads(line)["labels"] for line in answered.stdout.splitlines()]
    assert [sorted(labels) for labels in found] == [["up"], ["oslo", "up"], ["oslo"]], answered.stderr


def test_numbers_of_pairs_are_learned_and_served(runs: dict[str, Finished]) -> None:
    run = runs["tiny-number"]
    assert cli.statuses(run.summary)["data_validation"] == "reused"
    assert run.evaluation("metrics.json")["r2"] > 0.5 and "RMSE" in run.page.upper()
    up, down = {"text": "rome", "text_pair": "suva"}, {"text": "suva", "text_pair": "rome"}
    answered = run.predict(up, down)
    low, high = (json.loads(line)["value"] for line in answered.stdout.splitlines())
    assert low == pytest.approx(850, abs=40) and high == pytest.approx(1000, abs=40), answered.stderr
