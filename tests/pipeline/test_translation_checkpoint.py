"""A translator that starts from a checkpoint, through all steps, with the checkpoint's languages and its beams."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from modelmill import recipe as recipes
from modelmill.core.errors import UserError
from modelmill.models.cross_entropy import IGNORED
from modelmill.runtime import external_inputs
from modelmill.store import manifest, open_store
from modelmill.store.manifest import Manifest
from modelmill.tasks.translation.pretrained import PretrainedTranslation
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
    "fine_tuning": {"steps": 80, **TRAINING, "batch_size": 16, "learning_rate": 0.05, "group_by_length": True},
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


def made(finished: Finished, step: str, folder: Path) -> tuple[Manifest, dict[str, Path]]:
    """What a step of a run has made, and its files in a folder."""
    store = open_store(f"file://{finished.store}")
    digest = next(one["output_digest"] for one in finished.summary["steps"] if one["name"] == step)
    found = manifest.load(store, digest)
    files = {entry.path: folder / entry.path for entry in found.entries}
    for entry in found.entries:
        files[entry.path].parent.mkdir(parents=True, exist_ok=True)
        files[entry.path].write_bytes(manifest.read_entry(store, entry))
    return found, files


@torch.no_grad()
def test_it_learns_to_read_what_it_has_not_seen(finished: Finished, tmp_path: Path) -> None:
    task = PretrainedTranslation(*made(finished, "preprocessing", tmp_path / "corpus"), None)
    made(finished, "fine_tuning", tmp_path / "tuned")
    seen, held_out = (task.examples("fine_tuning", split) for split in ("train", "test"))
    batch = held_out.batch(np.arange(len(held_out)))
    other = batch | {name: batch[name].roll(1, 0) for name in ("input_ids", "attention_mask")}
    before, after = (
        task.load(folder).eval() for folder in (finished.recipe.parent / "checkpoint", tmp_path / "tuned" / "model")
    )
    untrained, trained, misled = (
        task.loss(model, given).item() / len(held_out)
        for model, given in ((before, batch), (after, batch), (after, other))
    )
    # What is known of a text from how often each token is written.
    learned = seen.batch(np.arange(len(seen)))["labels"]
    counts = 1 + torch.bincount(learned[learned != IGNORED], minlength=task.corpus.info["vocab_size"])
    labels = batch["labels"][batch["labels"] != IGNORED]
    by_frequency = -(counts / counts.sum()).log()[labels].sum().item() / len(held_out)
    assert trained < by_frequency / 2 and trained < untrained
    assert misled > 1.2 * trained, "it does not look at the source"
    assert finished.evaluation("metrics.json")["loss"] == pytest.approx(trained, rel=1e-4)


def test_adapters_are_merged_and_a_new_shard_costs_one_shard(tmp_path: Path) -> None:
    tuned = {"method": "lora", "lora": {"rank": 2}, "steps": 2, "batch_size": 8, "learning_rate": 0.01}
    steps = Steps(prepare(tmp_path, "mbart", fine_tuning=tuned), tmp_path / "0")
    corpus = steps.corpus()
    counts = corpus.info["splits"]
    assert sum(count["examples"] + count["unpaired"] for count in counts.values()) == len(rows())
    assert 0 < counts["train"]["unpaired"] < 30 and not counts["test"]["unpaired"]
    pretrained = steps.pretrained(corpus)
    model = steps.tuned(corpus, pretrained)
    assert steps.evaluated(corpus, pretrained, model).kind == "evaluation" and model.under("adapter")
    generation = json.loads((steps.folder_of(model, "model") / "generation_config.json").read_text())
    assert generation["max_new_tokens"] == 40
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
