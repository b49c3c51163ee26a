"""A translator through all steps, on a language whose words are read from the other end."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from tests import recipes
from tests.component.steps import Steps
from tests.pipeline.conftest import Finished, finish, kfp_reuses_all

COLOURS = {"red": "rosso", "green": "verde", "blue": "azzurro", "white": "bianco", "black": "nero", "grey": "grigio"}
THINGS = {"river": "fiume", "tower": "castello", "bird": "uccello", "book": "libro", "lion": "leone", "table": "tavolo"}
PLACES = {"here": "qui", "there": "là", "outside": "fuori", "inside": "dentro", "above": "sopra"}
TRAINING = {"batch_size": 32, "optimizer": "muon", "learning_rate": 0.01, "warmup": 0.1, "evaluate_every": 50}
RECIPE = {
    "name": "tiny-translation",
    "task": "translation",
    "seed": 1,
    "data": {"path": "pairs.jsonl", "suite": "suite.json"},
    "preprocessing": {"validation": 0.1, "test": 0.3, "sequence_length": 24, "tokenizer": {"vocab_size": 380}},
    "model": {"d_model": 32, "layers": 1, "attention_heads": 2, "ffn_dim": 64, "dropout": 0.0},
    "pretraining": {"steps": 30, **TRAINING},
    "fine_tuning": {"steps": 100, **TRAINING},
    "evaluation": {"samples": 3, "gate": {"chrf": {"min": 60}}, "comparison": {"too_few": "thresholds"}},
    "registration": {"model": "tiny-translation"},
}


def rows() -> list[dict[str, Any]]:
    """A colour, a thing and a place; in the target the colour comes after the thing, and the place first."""
    chosen = itertools.product(COLOURS, THINGS, PLACES)
    return [
        {"source": f"the {c} {t} {p}", "target": f"{PLACES[p]} il {THINGS[t]} {COLOURS[c]}", "n": 1}
        for c, t, p in chosen
    ]


def write(folder: Path, data: list[dict[str, Any]]) -> Path:
    """Pairs of sentences, and the recipe beside them."""
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in data))
    return recipes.write(folder, RECIPE)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return finish(write(tmp_path_factory.mktemp("translation"), rows()))


def test_kfps_runner_reuses_what_the_local_one_made(finished: Finished, tmp_path: Path) -> None:
    kfp_reuses_all(finished, tmp_path)


def test_it_learns_the_order_that_a_dictionary_lacks(finished: Finished) -> None:
    checks = finished.evaluation("gate.json")["checks"]
    against = {check["metric"]: check for check in checks if "baseline" in check}
    assert set(against) == {"chrf", "bleu"} and all(check["passed"] for check in checks)
    assert against["bleu"]["value"] > against["bleu"]["min"] + 20


def test_the_registered_model_translates_as_the_report_shows(finished: Finished) -> None:
    shown = [one["parts"] for one in finished.evaluation("samples.json")]
    page = finished.page
    assert len(shown) == 3 and all(one["reference"] in page and one["translation"] in page for one in shown)
    answered = finished.predict(*({"text": one["source"]} for one in shown))
    found = [json.loads(line)["translation"] for line in answered.stdout.splitlines()]
    assert found == [one["translation"] for one in shown], answered.stderr


def test_bad_data_is_one_line_with_what_to_do(tmp_path: Path) -> None:
    empty, long = {"source": "red", "target": " ", "n": 1}, {"source": "red " * 30, "target": "rosso", "n": 1}
    recipe = write(tmp_path, [*rows(), empty, long])
    dataset = Steps(recipe, tmp_path / "0").call("data_validation", ["dataset", "validation"])["dataset"]

    def refused(*changes: str) -> str:
        code, message = Steps(recipe, tmp_path / "0", *changes).fails("preprocessing", ["corpus"], dataset=dataset)
        assert code == 2 and "\n" not in message
        return message

    drop_empty, drop_long = "preprocessing.empty_text=drop", "preprocessing.long_text=drop"
    assert "target: row 181 of the data has an empty 'target'; mend the data, or set" in refused()
    assert "row 182 of the data, and 1 in all, has a text of more than 24 tokens" in refused(drop_empty)
    assert "has no column 'other'" in refused("preprocessing.target=other")
    assert "holds int, not text, in row 1" in refused("preprocessing.target=n")
    kept = Steps(recipe, tmp_path / "0", drop_empty, drop_long).call("preprocessing", ["corpus"], dataset=dataset)
    assert sum(split["examples"] for split in kept["corpus"].info["splits"].values()) == 180
