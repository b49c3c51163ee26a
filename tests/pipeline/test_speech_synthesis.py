"""A speech synthesiser from the command line: two voices, a page that plays them, and a WAV for a text."""

import base64
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelmill.data.media import audio
from tests import cli, recipes, speech
from tests.pipeline.conftest import Finished, finish, kfp_reuses_all

TEXTS = {
    "low": ["".join(one) for one in itertools.product("abcd", repeat=3)],
    "high": [" ".join(one) for one in itertools.product("abcd", repeat=3)],
}
TRAINING: dict[str, Any] = {
    "batch_size": 8,
    "learning_rate": 0.005,
    "evaluate_every": 30,
    "warmup": 0.1,
    "precision": "fp32",
}
RECIPE: dict[str, Any] = {
    "name": "tones",
    "task": "speech_synthesis",
    "data": {"path": "data", "media": "audio", "suite": "suite.json"},
    "preprocessing": {
        "split_by": "transcript",
        "fine_tune_on": {"column": "kind", "value": "high"},
        "validation": 0.15,
        "test": 0.2,
        "sample_rate": speech.RATE,
    },
    "model": {"mels": 24, "hidden_size": 32, "encoder_layers": 1, "decoder_layers": 2, "dropout": 0.0},
    "pretraining": {"steps": 60, **TRAINING},
    "fine_tuning": {"steps": 60, **TRAINING},
    "evaluation": {
        "samples": 1,
        "comparison": "none",
        "listener": {"steps": 60, "batch_size": 8, "learning_rate": 0.01},
    },
    "registration": {"model": "tones"},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("tones")
    speech.write(folder / "data", TEXTS, low=1.0, high=1.3)
    return finish(recipes.write(folder, RECIPE))


def test_kfps_runner_reuses_what_the_local_one_made(finished: Finished, tmp_path: Path) -> None:
    kfp_reuses_all(finished, tmp_path)


def test_it_speaks_nearer_to_real_recordings_than_what_learned_nothing_and_is_heard(finished: Finished) -> None:
    metrics = finished.evaluation("metrics.json")
    found = finished.evaluation("gate.json")["checks"]
    checks = {(one["metric"], one["baseline"].split(" '")[0]): one for one in found}
    assert {what for metric, what in checks if metric == "mel_distance"} == {
        "the mean spectrum",
        "the nearest training recording",
        "before fine-tuning",
    }
    assert all(one["passed"] for one in checks.values())
    assert metrics["mel_distance"] < checks["mel_distance", "the mean spectrum"]["max"] / 2
    assert metrics["character_error_rate"] < 0.3 and metrics["character_error_rate_real"] < 0.3


def test_the_page_plays_speech_and_predict_says_the_same(finished: Finished) -> None:
    real, synthesised = finished.evaluation("samples.json")
    page = finished.page
    assert all(f"data:audio/wav;base64,{one['wav']}" in page for one in (real, synthesised))
    text = synthesised["caption"].removesuffix(" (synthesised)")
    assert real["caption"] == f"{text} (real)"
    answered = finished.predict({"text": f" {text.upper()}"})
    said = audio.decode(base64.b64decode(json.loads(answered.stdout)["audio"]), speech.RATE)
    shown = audio.decode(base64.b64decode(synthesised["wav"]), speech.RATE)
    assert len(said) == len(shown) and np.abs(said - shown).max() < 0.05, answered.stderr


@pytest.mark.parametrize(
    ("text", "said"), [("ab é", "'é' is not in the model's alphabet ' abcd'"), (" ", "it is empty")]
)
def test_what_predict_cannot_say_is_one_line(finished: Finished, text: str, said: str) -> None:
    done = finished.predict({"text": text})
    assert done.returncode == 2 and said in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_recipe_that_asks_a_listener_that_is_not_there_is_refused(tmp_path: Path) -> None:
    done = cli.modelmill(
        "run",
        recipes.write(tmp_path, RECIPE),
        "--set",
        "evaluation.listener.steps=0",
        "--set",
        "evaluation.gate.character_error_rate.max=0.2",
    )
    assert done.returncode == 2 and "character_error_rate needs a listener" in done.stderr
