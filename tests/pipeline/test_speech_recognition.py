"""A speech recogniser from the command line: recordings of speakers, a page that plays them, and what it hears."""

import base64
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from tests import cli, recipes, speech
from tests.component.steps import Steps
from tests.pipeline.conftest import Finished, finish, kfp_reuses_all

TEXTS = {
    "other": [f"{''.join(one)} {one[0]}" for one in itertools.permutations("abcd", 3)] * 4,
    "words": ["".join(one) for one in itertools.product("abcd", repeat=2)] * 4,
}
TRAINING: dict[str, Any] = {
    "batch_size": 16,
    "learning_rate": 0.01,
    "evaluate_every": 30,
    "warmup": 0.1,
    "precision": "fp32",
}
RECIPE: dict[str, Any] = {
    "name": "tones",
    "task": "speech_recognition",
    "data": {"path": "data", "media": "audio", "corrupt_files": "leave_out", "suite": "suite.json"},
    "preprocessing": {
        "split_by": "speaker",
        "fine_tune_on": {"column": "kind", "value": "words"},
        "validation": 0.2,
        "test": 0.2,
        "sample_rate": speech.RATE,
    },
    "model": {
        "mels": 20,
        "channels": 24,
        "hidden_size": 24,
        "num_layers": 1,
        "dropout": 0.0,
        "augmentation": {"time_masks": 0, "frequency_masks": 0},
    },
    "pretraining": {"steps": 80, **TRAINING},
    "fine_tuning": {"steps": 90, **TRAINING},
    "evaluation": {"samples": 2, "comparison": "none"},
    "registration": {"model": "tones"},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("tones")
    rows = speech.write(folder / "data", TEXTS)
    cut = folder / "data" / rows[5]["file"]
    cut.write_bytes(cut.read_bytes()[:500])
    return finish(recipes.write(folder, RECIPE))


def test_kfps_runner_reuses_what_the_local_one_made(finished: Finished, tmp_path: Path) -> None:
    kfp_reuses_all(finished, tmp_path)


def test_it_hears_what_is_said_better_than_any_constant(finished: Finished) -> None:
    metrics = finished.evaluation("metrics.json")
    assert metrics["character_error_rate"] < 0.1 and metrics["word_error_rate"] < 0.2
    checks = {(one["metric"], one["baseline"].split()[0]): one for one in finished.evaluation("gate.json")["checks"]}
    assert all(one["passed"] for one in checks.values())
    assert checks["character_error_rate", "always"]["max"] > 0.4
    assert checks["word_error_rate", "before"]["max"] == metrics["word_error_rate_before"]


def test_a_recording_that_is_cut_off_is_left_out_by_name(finished: Finished) -> None:
    named = cli.modelmill("data", "quarantine", "--store", f"file://{finished.store}")
    assert "audio/other-5.wav" in named.stdout and "cut off" in named.stdout


def test_the_page_plays_recordings_and_predict_hears_them_as_it_says(finished: Finished) -> None:
    shown = finished.evaluation("samples.json")
    page = finished.page
    assert len(shown) == 2 and all(f"data:audio/wav;base64,{one['wav']}" in page for one in shown)
    answered = finished.predict(*({"audio": one["wav"]} for one in shown))
    heard = [json.loads(line)["transcript"] for line in answered.stdout.splitlines()]
    assert [one["caption"].partition("heard: ")[2] for one in shown] == heard, answered.stderr


@pytest.mark.parametrize(
    ("audio", "said"),
    [
        (
            speech.encode(speech.spoken("ab", rate=16_000), 16_000),
            "its sample rate is 16000 Hz, not 8000 Hz; resample it",
        ),
        (b"fLaC" + bytes(20), "audio: cannot be decoded (broken"),
        (speech.encode(speech.spoken("a")[:0], 8_000), "audio: cannot be decoded (no samples)"),
    ],
)
def test_what_predict_cannot_hear_is_one_line(finished: Finished, audio: bytes, said: str) -> None:
    done = finished.predict({"audio": base64.b64encode(audio).decode()})
    assert done.returncode == 2 and said in done.stderr and len(done.stderr.splitlines()) == 1


def test_what_cannot_be_learned_from_is_one_line_or_left_out(tmp_path: Path) -> None:
    texts = {"other": TEXTS["other"][:24], "words": TEXTS["words"]}
    rows = speech.write(tmp_path / "data", texts)
    recipe = recipes.write(tmp_path, RECIPE)

    def prepared(changed: dict[str, Any], *changes: str) -> tuple[int, str]:
        speech.write_manifest(tmp_path / "data", [rows[0] | changed, *rows[1:]])
        steps = Steps(recipe, tmp_path / "store", *changes)
        dataset = steps.call("data_validation", ["dataset", "validation"])["dataset"]
        if "preprocessing.unusable=drop" in changes:
            made = steps.call("preprocessing", ["corpus"], dataset=dataset)["corpus"]
            return 0, str(sum(sum(of.values()) for of in made.info["corpora"].values()))
        return steps.fails("preprocessing", ["corpus"], dataset=dataset)

    for changed, changes, said in (
        ({"transcript": "  "}, (), "manifest.jsonl: audio/other-0.wav: its transcript is empty; mend it"),
        ({"transcript": "ab!"}, ("preprocessing.alphabet=ab cd",), "has '!', which is not in the alphabet 'ab cd'"),
        ({"transcript": "abcdabcdabcdabcdabcdabcd"}, (), "too short for the 24 characters of its transcript"),
        ({}, ("preprocessing.max_seconds=0.3",), "it lasts 0.4 s, more than preprocessing.max_seconds (0.3 s)"),
        ({}, ("preprocessing.sample_rate=16000",), "audio/other-0.wav: its sample rate is 8000 Hz, not 16000 Hz"),
    ):
        code, message = prepared(changed, *changes)
        assert code == 2 and said in message and "\n" not in message
    assert prepared({"transcript": ""}, "preprocessing.unusable=drop") == (0, str(len(rows) - 1))
    assert prepared(
        {}, "preprocessing.unusable=drop", "preprocessing.sample_rate=16000", "preprocessing.resample=true"
    ) == (
        0,
        str(len(rows)),
    )


def test_a_recipe_that_does_not_fit_is_refused_before_any_work(tmp_path: Path) -> None:
    for change, said in (
        ("preprocessing.fine_tune_on=null", "two stages need two corpora"),
        ("data.media=null", "data.media: this task learns from recordings; set it to audio"),
        ("fine_tuning.onnx=true", "recordings of any length"),
    ):
        done = cli.modelmill("run", recipes.write(tmp_path, RECIPE), "--set", change)
        assert done.returncode == 2 and said in done.stderr
