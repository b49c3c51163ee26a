"""A speech checkpoint from the command line, through all six steps: what the page shows, predict hears."""

import itertools
import json
from typing import Any

import pytest

from tests import recipes, speech
from tests.pipeline.conftest import Finished, finish
from tests.pretrained import speech as speech_checkpoints

TEXTS = {"words": ["".join(one) for one in itertools.product("abcd", repeat=2)] * 2}
TRAINING: dict[str, Any] = {"batch_size": 4, "learning_rate": 0.003, "evaluate_every": 3, "precision": "fp32"}
RECIPE: dict[str, Any] = {
    "name": "heard",
    "task": "speech_recognition",
    "data": {"path": "data", "media": "audio", "suite": "suite.json"},
    "preprocessing": {
        "split_by": "speaker",
        "validation": 0.2,
        "test": 0.2,
        "vocabulary": "transcripts",
    },
    "model": {"type": "auto"},
    "pretraining": {"init": "checkpoint", "steps": 0, "learning_rate": 1.0},
    "fine_tuning": {"method": "lora", "steps": 6, **TRAINING},
    "evaluation": {"samples": 2, "baseline": False, "comparison": "none"},
    "registration": {"model": "heard"},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("heard")
    speech.write(folder / "data", TEXTS)
    speech_checkpoints.write("hubert", folder / "checkpoint")
    return finish(recipes.write(folder, RECIPE))


def test_predict_hears_what_the_page_says_at_any_rate(finished: Finished) -> None:
    shown = finished.evaluation("samples.json")
    answered = finished.predict(*({"audio": one["wav"]} for one in shown))
    heard = [json.loads(line)["transcript"] for line in answered.stdout.splitlines()]
    expected = [one["caption"].partition("heard: ")[2] for one in shown]
    assert [text or "(nothing)" for text in heard] == expected, answered.stderr
