"""A recurrent language model over bytes, from the command line: two corpora in one folder, and a text that goes on."""

import json
from pathlib import Path
from typing import Any

import pytest

from modelmill.store import manifest
from tests import cli, recipes
from tests.component.steps import Steps
from tests.pipeline.conftest import Finished, finish, kfp_reuses_all

NOUNS = ["river", "garden", "window", "letter", "harbour", "winter", "mountain", "lantern"]
RECIPE: dict[str, Any] = {
    "name": "tiny-rnn",
    "task": "character_modeling",
    "data": {"path": "data", "suite": "suite.json"},
    "preprocessing": {
        "split_by": "name",
        "fine_tune_on": {"column": "kind", "value": "english"},
        "validation": 0.2,
        "test": 0.2,
        "length": 32,
        "warm_up": 8,
    },
    "model": {"type": "lstm", "embedding_size": 16, "hidden_size": 48},
    "pretraining": {"steps": 40, "batch_size": 8, "learning_rate": 0.02, "evaluate_every": 20},
    "fine_tuning": {"steps": 60, "batch_size": 8, "learning_rate": 0.02, "evaluate_every": 20},
    "evaluation": {"ngram_order": 2, "samples": 2, "prompt_bytes": 10, "sample_bytes": 30, "comparison": "none"},
    "registration": {"model": "tiny-rnn"},
}


def write_documents(folder: Path, empty: bool = False) -> Path:
    """Lines of code and sentences, of which the network has to learn how they go."""
    folder.mkdir()
    rows = []
    for n in range(240):
        one, other = NOUNS[n % 8], NOUNS[n * 5 // 8 % 8]
        rows.append(
            {"name": f"{n}.py", "kind": "code", "number": n, "text": f"def {one}_{n}(self):\n    return self.{other}\n"}
        )
        rows.append(
            {"name": f"{n}.py", "kind": "english", "number": n, "text": f"The {one} number {n} is near the {other}."}
        )
    rows[7]["text"] = "" if empty else rows[7]["text"]
    (folder / "documents.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("characters")
    write_documents(folder / "data")
    return finish(recipes.write(folder, RECIPE))


def test_kfps_runner_reuses_what_the_local_one_made(finished: Finished, tmp_path: Path) -> None:
    kfp_reuses_all(finished, tmp_path)


def test_it_has_learned_more_than_n_grams_and_than_pretraining_alone(finished: Finished) -> None:
    gate = finished.evaluation("gate.json")
    bounds = {check["baseline"]: check["max"] for check in gate["checks"]}
    assert set(bounds) == {"2-grams", "before fine-tuning"} and gate["passed"]
    metrics = finished.evaluation("metrics.json")
    assert metrics["bits_per_byte"] < min(bounds.values())
    assert metrics["bits_per_byte_before"] == bounds["before fine-tuning"]


def test_the_registered_model_goes_on_as_it_did_in_the_report(finished: Finished) -> None:
    shown = finished.evaluation("samples.json")
    assert len(shown) == 2 and all(len(sample["parts"]["prompt"]) == 10 for sample in shown)
    page = finished.page
    assert shown[0]["parts"]["greedy"] in page and shown[0]["parts"]["at_temperature"] in page
    answered = finished.predict(*({"prompt": sample["parts"]["prompt"]} for sample in shown))
    found = [json.loads(line)["completion"] for line in answered.stdout.splitlines()]
    assert [text[:30] for text in found] == [sample["parts"]["greedy"] for sample in shown], answered.stderr


def test_without_pretraining_there_is_nothing_before(finished: Finished, tmp_path: Path) -> None:
    steps = Steps(finished.recipe, tmp_path, "pretraining=none", "model.type=gru")
    corpus = steps.corpus()
    pretrained = steps.pretrained(corpus)
    metrics = steps.evaluated(corpus, pretrained, steps.tuned(corpus, pretrained)).info["metrics"]
    assert "bits_per_byte_before" not in metrics and metrics["bits_per_byte"] < 4


def test_bad_data_is_one_line_with_what_to_do(tmp_path: Path) -> None:
    write_documents(tmp_path / "data", empty=True)
    recipe, drop = recipes.write(tmp_path, RECIPE), "preprocessing.empty=drop"
    dataset = Steps(recipe, tmp_path / "0").call("data_validation", ["dataset", "validation"])["dataset"]

    def refused(*changes: str) -> str:
        code, message = Steps(recipe, tmp_path / "0", *changes).fails("preprocessing", ["corpus"], dataset=dataset)
        assert code == 2 and "\n" not in message
        return message

    assert "column 'text' is empty in row 8 of all; set preprocessing.empty: drop" in refused()
    unknown = refused(drop, "preprocessing.fine_tune_on.value=poem")
    assert "no row has 'poem' in column 'kind'" in unknown and "'code', 'english'" in unknown
    assert "has no column 'sort'" in refused(drop, "preprocessing.fine_tune_on.column=sort")
    assert "holds int, not text, in row 1" in refused(drop, "preprocessing.text=number")
    assert "no document of fine_tuning is in the test split" in refused(drop, "preprocessing.test=0.00001")
    kept = Steps(recipe, tmp_path / "0", drop).call("preprocessing", ["corpus"], dataset=dataset)["corpus"]
    assert sum(len_of(kept, split) for split in ("train", "validation", "test")) == 479


def len_of(corpus: manifest.Manifest, split: str) -> int:
    return sum(corpus.entry(f"{split}/{name}/ids.npy").rows or 0 for name in ("pretraining", "fine_tuning"))


def test_two_stages_need_two_corpora(tmp_path: Path) -> None:
    write_documents(tmp_path / "data")
    done = cli.modelmill("run", recipes.write(tmp_path, RECIPE), "--set", "preprocessing.fine_tune_on=null")
    assert done.returncode == 2 and "two stages need two corpora" in done.stderr
