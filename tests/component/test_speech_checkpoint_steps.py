"""A speech checkpoint through the steps: what plan refuses, what a new shard costs, and a training that is killed."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from modelmill import recipe as recipes
from modelmill.core.errors import UserError
from modelmill.runtime import external_inputs
from modelmill.store import open_store
from modelmill.store.manifest import Manifest
from tests import recipes as written
from tests import speech
from tests.component.killed import kill_fine_tuning
from tests.component.steps import Steps
from tests.pretrained import speech as speech_checkpoints

TEXTS = ["ab", "cd", "ad", "bc", "da", "cb"]
RECIPE: dict[str, Any] = {
    "name": "heard",
    "task": "speech_recognition",
    "data": {"path": "data", "media": "audio", "suite": "suite.json"},
    "preprocessing": {
        "split_by": "speaker",
        "fine_tune_on": {"column": "kind", "value": "words"},
        "validation": 0.2,
        "test": 0.2,
        "vocabulary": "transcripts",
        "max_seconds": 1.5,
    },
    "model": {"type": "auto"},
    "pretraining": {"init": "checkpoint", "steps": 0, "learning_rate": 1.0},
    "fine_tuning": {
        "steps": 12,
        "batch_size": 4,
        "learning_rate": 0.003,
        "evaluate_every": 6,
        "precision": "fp32",
        "checkpoint_seconds": 0,
    },
    "registration": {"model": "heard"},
}


class Trained:
    """A fine-tuning in a store of its own."""

    def __init__(self, folder: Path) -> None:
        speech.write(folder / "data", {"words": TEXTS * 4, "other": ["dddd"]})
        # Layers that are dropped and frames that are masked: what is drawn must be drawn again after a kill.
        more = {"mask_time_prob": 0.5, "mask_time_length": 2, "hidden_dropout": 0.1, "layerdrop": 0.5}
        speech_checkpoints.write("hubert", folder / "checkpoint", **more)
        self.recipe = written.write(folder, RECIPE)
        self.steps = Steps(self.recipe, folder / "steps")
        self.corpus = self.steps.corpus()
        self.made = self.steps.record("preprocessing")
        self.pretrained = self.steps.pretrained(self.corpus)
        self.model = self.steps.tuned(self.corpus, self.pretrained)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("heard"))


def test_the_corpus_has_the_new_vocabulary_and_the_rows_to_fine_tune_on(trained: Trained) -> None:
    info = trained.corpus.info
    assert info["vocabulary"] == "transcripts" and info["head"] == "AutoModelForCTC"
    assert sum(of["examples"] for of in info["splits"].values()) == len(TEXTS) * 4
    assert trained.made.metrics["new_shards"] == 1


def test_a_training_that_is_killed_ends_with_the_same_bits(trained: Trained, tmp_path: Path) -> None:
    shutil.copytree(trained.steps.folder / "store", tmp_path / "store")
    steps = Steps(trained.recipe, tmp_path)
    steps.calls = trained.steps.calls
    for key in [*steps.store.list("memo/fine_tuning/")]:
        steps.store.delete(key)
    kill_fine_tuning(steps, trained.corpus, trained.pretrained, tmp_path)
    made = steps.tuned(trained.corpus, trained.pretrained)
    assert steps.record("fine_tuning").metrics["resumed_from_step"] > 0
    assert made.entries == trained.model.entries


def test_a_new_shard_costs_one_shard_and_rates_are_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def corpus() -> tuple[Manifest, dict[str, Any]]:
        caplog.clear()
        steps = Steps(tmp_path / "heard.yaml", tmp_path)
        made = steps.corpus()
        assert [one.message for one in caplog.records if "8000 Hz are resampled to the 16000 Hz" in one.message], made
        return made, steps.record("preprocessing").metrics

    caplog.set_level(logging.WARNING, "modelmill")
    rows = speech.write(tmp_path / "data", {"words": TEXTS * 4})
    speech_checkpoints.write("wav2vec2", tmp_path / "checkpoint")
    document = json.loads(json.dumps(RECIPE)) | {"data": {"path": "data", "media": "audio", "suite": "suite.json"}}
    document["preprocessing"] |= {"fine_tune_on": None, "vocabulary": "checkpoint"}
    written.write(tmp_path, document)
    _, metrics = corpus()
    assert metrics["new_shards"] == 1
    more = [row | {"speaker": f"{row['speaker']}x"} for row in rows[:8]]
    (tmp_path / "data" / "more.manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in more))
    made, metrics = corpus()
    assert metrics["new_shards"] == 1
    assert sum(of["examples"] for of in made.info["splits"].values()) == len(rows) + 8


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("whisper", {"language": "swahili"}, "preprocessing.language: .*does not know 'swahili'; it knows en, de, fr"),
        ("whisper", {}, "preprocessing.language: .*: name the language of the transcripts, one of en, de, fr"),
        ("hubert", {"language": "de"}, "preprocessing.language: .*: hubert has no tokens of languages"),
        ("hubert", {"sample_rate": 8000}, "preprocessing.sample_rate: 8000 Hz, but hubert hears 16000 Hz"),
        ("whisper", {"language": "German", "max_seconds": 3}, "preprocessing.max_seconds: 3, but whisper hears 2 s"),
    ],
)
def test_what_does_not_fit_a_checkpoint_is_known_in_plan(
    family: str, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    speech_checkpoints.write(family, tmp_path / "checkpoint")
    (tmp_path / "data").mkdir()
    document = RECIPE | {"preprocessing": {"max_seconds": 1.5, **changes}}
    recipe = recipes.load(written.write(tmp_path, document))
    with pytest.raises(UserError, match=message) as raised:
        external_inputs.digests("preprocessing", recipe, open_store(f"file://{tmp_path / 'store'}"))
    assert "\n" not in str(raised.value)


def test_a_processor_of_images_is_refused_in_plan(tmp_path: Path) -> None:
    folder = speech_checkpoints.write("hubert", tmp_path / "checkpoint")
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": "ViTImageProcessor"}))
    recipe = recipes.load(written.write(tmp_path, RECIPE))
    with pytest.raises(UserError, match="prepares images; take the checkpoint of a speech recogniser"):
        external_inputs.digests("preprocessing", recipe, open_store(f"file://{tmp_path / 'store'}"))
