"""A translator that starts from a checkpoint, through all steps, with the checkpoint's languages and its beams."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelmill import recipe as recipes
from modelmill.core.errors import UserError
from modelmill.runtime import external_inputs
from modelmill.store import open_store
from tests.component.steps import Steps
from tests.pipeline.conftest import Finished, finish
from tests.pipeline.test_translation import RECIPE, TRAINING, rows
from tests.pretrained import seq2seq
from tests.recipes import write

CHANGES: dict[str, Any] = {
    "name": "tiny-checkpoint",
    "preprocessing": {"validation": 0.1, "test": 0.3, "sequence_length": 40, "long_text": "drop", "paired": 0.9},
    "model": {"type": "auto"},
    "pretraining": {"init": "checkpoint", "steps": 0, "learning_rate": 1.0},
    "fine_tuning": {"steps": 30, **TRAINING, "group_by_length": True, "frozen_layers": 1, "layer_decay": 0.9},
    "evaluation": {"samples": 3, "baseline": False, "comparison": {"too_few": "thresholds"}},
    "registration": {"model": "tiny-checkpoint"},
}


def prepare(folder: Path, family: str, **changes: Any) -> Path:
    """A checkpoint, two shards of pairs and the recipe."""
    seq2seq.write(family, folder / "checkpoint")
    (folder / "pairs").mkdir()
    for shard in range(2):
        lines = [json.dumps(row) + "\n" for row in rows()[shard::2]]
        (folder / "pairs" / f"{shard}.jsonl").write_text("".join(lines))
    data = {"path": "pairs", "suite": "suite.json"}
    document = RECIPE | CHANGES | {"data": data}
    if family in seq2seq.CODES:
        document["preprocessing"] = CHANGES["preprocessing"] | {"languages": seq2seq.CODES[family]}
    return write(folder, document, **changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return finish(prepare(tmp_path_factory.mktemp("checkpoint"), "marian"))


def test_the_registered_model_writes_as_the_report_shows(finished: Finished) -> None:
    shown = [one["parts"] for one in finished.evaluation("samples.json")]
    assert len(shown) == 3 and all(one["translation"] in finished.page for one in shown)
    answered = finished.predict(*({"text": one["source"]} for one in shown))
    found = [json.loads(line)["translation"] for line in answered.stdout.splitlines()]
    assert found == [one["translation"] for one in shown], answered.stderr


@pytest.mark.parametrize("family", ["mbart", "t5"])
def test_adapters_are_merged_into_what_is_evaluated(family: str, tmp_path: Path) -> None:
    tuned = {"method": "lora", "lora": {"rank": 2}, "steps": 3, "batch_size": 8, "learning_rate": 0.01}
    steps = Steps(prepare(tmp_path, family, fine_tuning=tuned), tmp_path / "0")
    corpus = steps.corpus()
    pretrained = steps.pretrained(corpus)
    model = steps.tuned(corpus, pretrained)
    evaluated = steps.evaluated(corpus, pretrained, model)
    assert evaluated.kind == "evaluation" and model.under("adapter")
    generation = json.loads((steps.folder_of(model, "model") / "generation_config.json").read_text())
    assert generation["max_new_tokens"] == 40


def test_a_new_shard_costs_one_shard_and_a_row_out_of_place_is_named(tmp_path: Path) -> None:
    recipe = prepare(tmp_path, "t5")
    steps = Steps(recipe, tmp_path / "0")
    corpus = steps.corpus()
    counts = corpus.info["splits"]
    assert sum(count["examples"] + count["unpaired"] for count in counts.values()) == len(rows())
    assert 0 < counts["train"]["unpaired"] < 30 and not counts["test"]["unpaired"]
    (tmp_path / "pairs" / "2.jsonl").write_text(json.dumps({"source": "red", "target": "rosso", "n": 1}) + "\n")
    steps.corpus()
    assert steps.record("preprocessing").metrics["new_shards"] == 1
    (tmp_path / "pairs" / "3.jsonl").write_text(json.dumps({"source": "red", "target": " ", "n": 1}) + "\n")
    dataset = steps.call("data_validation", ["dataset", "validation"])["dataset"]
    code, message = steps.fails("preprocessing", ["corpus"], dataset=dataset)
    assert code == 2 and "preprocessing.target: 3.jsonl row 1 has an empty 'target'; mend the data" in message


def test_what_does_not_fit_the_checkpoint_is_known_before_anything_runs(tmp_path: Path) -> None:
    path = prepare(tmp_path, "m2m_100")
    store = open_store(f"file://{tmp_path}/store")

    def refused(**changes: Any) -> str:
        document = yaml.safe_load(path.read_text())
        document["preprocessing"] |= changes
        path.write_text(yaml.safe_dump(document))
        with pytest.raises(UserError) as raised:
            external_inputs.digests("preprocessing", recipes.load(path), store)
        return str(raised.value)

    assert "no token for the language 'de'; did you mean" in refused(languages={"source": "en", "target": "de"})
    assert "preprocessing.languages.source" in refused(languages=None)
    document = yaml.safe_load(path.read_text())
    (tmp_path / "checkpoint" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    document["preprocessing"]["languages"] = seq2seq.CODES["m2m_100"]
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(UserError, match=r"has no AutoModelForSeq2SeqLM; take one of .*marian"):
        external_inputs.digests("preprocessing", recipes.load(path), store)
