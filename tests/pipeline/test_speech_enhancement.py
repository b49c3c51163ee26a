"""Speech enhancement from the command line: tones, clean, and under a hum that fine-tuning alone knows."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests import cli, recipes
from tests.component.steps import Steps
from tests.media import sound
from tests.pipeline.conftest import Finished, finish, kfp_reuses_all

RATE = 8_000
SAMPLES = RATE // 2
STAGE: dict[str, Any] = {"batch_size": 8, "learning_rate": 0.005, "evaluate_every": 20, "validation_batches": 1}
RECIPE: dict[str, Any] = {
    "name": "tiny-tones",
    "task": "speech_enhancement",
    "data": {"path": "data", "media": "audio", "suite": "suite.json"},
    "preprocessing": {"split_by": "utterance", "sample_rate": RATE, "validation": 0.2, "test": 0.25},
    "model": {"channels": 24, "blocks": 2, "dropout": 0.0, "segment_seconds": 0.4},
    "pretraining": {"steps": 20, **STAGE},
    "fine_tuning": {"steps": 60, **STAGE},
    "evaluation": {"samples": 2, "comparison": "none"},
    "registration": {"model": "tiny-tones"},
}


def spoken(draw: np.random.Generator) -> np.ndarray:
    """Low tones of some heights, one after the other."""
    times = np.arange(SAMPLES) / RATE
    heights = np.repeat(draw.uniform(200, 900, 5), SAMPLES // 5)
    return 0.3 * np.sin(2 * np.pi * np.cumsum(heights) / RATE) * (np.sin(2 * np.pi * 4 * times) > -0.3)


def write_recordings(folder: Path, pairs: int = 60, alone: int = 30) -> list[dict[str, Any]]:
    """Returns the rows of the manifest."""
    draw, rows = np.random.default_rng(0), []
    (folder / "clean").mkdir(parents=True)
    (folder / "noisy").mkdir()
    for number in range(pairs + alone):
        clean = spoken(draw)
        (folder / "clean" / f"{number}.wav").write_bytes(sound(clean, RATE))
        rows.append({"file": f"clean/{number}.wav", "clean": "", "utterance": number})
        if number < pairs:
            # A hum above the tones, which comes and goes, so that it is not steady.
            phase, speed = draw.uniform(0, 6), draw.uniform(5, 9)
            times = np.arange(SAMPLES) / RATE
            hum = 0.3 * np.sin(2 * np.pi * 2500 * times + phase) * (np.sin(2 * np.pi * speed * times + phase) > 0)
            (folder / "noisy" / f"{number}.wav").write_bytes(sound(clean + hum, RATE))
            rows.append({"file": f"noisy/{number}.wav", "clean": f"clean/{number}.wav", "utterance": number})
    save(folder, rows)
    return rows


def save(folder: Path, rows: list[dict[str, Any]]) -> None:
    (folder / "recordings.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("tones")
    write_recordings(folder / "data")
    (folder / "data" / "clean" / "70.wav").write_bytes(b"RIFF cut off")
    return finish(recipes.write(folder, RECIPE, data__corrupt_files="leave_out"))


def test_kfps_runner_reuses_what_the_local_one_made(finished: Finished, tmp_path: Path) -> None:
    kfp_reuses_all(finished, tmp_path)


def test_it_takes_out_more_than_what_has_not_learned_it(finished: Finished) -> None:
    gate = finished.evaluation("gate.json")
    bounds = {check["baseline"]: check["min"] for check in gate["checks"]}
    assert set(bounds) == {"the noisy recording", "a Wiener filter", "before fine-tuning"} and gate["passed"]
    metrics = finished.evaluation("metrics.json")
    assert metrics["si_sdr_improvement"] > max(*bounds.values(), 3.0)


def test_the_registered_model_makes_what_the_report_plays(finished: Finished, tmp_path: Path) -> None:
    shown = finished.evaluation("samples.json")
    assert [one["caption"].partition(", ")[0] for one in shown[:3]] == ["1: noisy", "1: enhanced", "1: clean"]
    assert all(f"data:audio/wav;base64,{one['wav']}" in finished.page for one in shown)
    answered = finished.predict({"audio": shown[0]["wav"]})
    assert answered.returncode == 0, answered.stderr
    (tmp_path / "enhanced.wav").write_bytes(base64.b64decode(json.loads(answered.stdout)["audio"]))
    (tmp_path / "expected.wav").write_bytes(base64.b64decode(shown[1]["wav"]))
    made, rate = soundfile.read(tmp_path / "enhanced.wav")
    assert rate == RATE and len(made) == SAMPLES
    assert np.allclose(made, soundfile.read(tmp_path / "expected.wav")[0], atol=1e-3)
    answered = finished.predict({"audio": base64.b64encode(b"no sound").decode()})
    assert answered.returncode == 2 and "audio: cannot be decoded" in answered.stderr


def test_a_broken_recording_is_left_out_by_name(finished: Finished) -> None:
    validated = next(s for s in finished.summary["steps"] if s["name"] == "data_validation")
    assert "149 rows" in validated["headline"] and "clean/70.wav" in finished.page


def test_bad_data_is_one_line_with_what_to_do(tmp_path: Path) -> None:
    data = tmp_path / "data"
    rows = write_recordings(data, pairs=20, alone=4)
    good, recipe, calls = json.dumps(rows), recipes.write(tmp_path, RECIPE), iter(range(100))

    def prepare(*settings: str) -> Steps:
        return Steps(recipe, tmp_path / str(next(calls)), *settings)

    def refused(*settings: str) -> str:
        at = prepare(*settings)
        dataset = at.call("data_validation", ["dataset", "validation"])["dataset"]
        code, message = at.fails("preprocessing", ["corpus"], dataset=dataset)
        assert code == 2 and "\n" not in message
        return message

    def pairs(*settings: str) -> int:
        return sum(split["examples"] for split in prepare(*settings).corpus().info["splits"].values())

    noisy = data / "noisy" / "3.wav"
    before = noisy.read_bytes()
    noisy.write_bytes(sound(np.full(SAMPLES // 2, 0.1), RATE))
    message = refused()
    assert "preprocessing.unusable: recordings.jsonl: noisy/3.wav: it has 2,000 samples and its clean" in message
    assert "--set preprocessing.unusable=drop" in message and pairs("preprocessing.unusable=drop") == 19
    noisy.write_bytes(sound(np.full(RATE, 0.1), 2 * RATE))
    assert "noisy/3.wav: its sample rate is 16000 Hz, not 8000 Hz" in refused()
    assert pairs("preprocessing.resample=true") == 20
    noisy.write_bytes(before)
    clean = data / "clean" / "3.wav"
    kept = clean.read_bytes()
    clean.write_bytes(sound(np.zeros(SAMPLES), RATE))
    assert "clean/3.wav: it is silent" in refused()
    clean.write_bytes(kept)
    changed = json.loads(good)
    next(row for row in changed if row["file"] == "noisy/3.wav")["clean"] = "clean/33.wav"
    save(data, changed)
    assert "noisy/3.wav: its clean recording 'clean/33.wav' has no row" in refused()
    save(data, json.loads(good))
    assert "is in another split; set preprocessing.split_by" in refused("preprocessing.split_by=file")
    noisy.write_bytes(b"RIFF cut off")
    code, message = prepare().fails("data_validation", ["dataset", "validation"])
    assert code == 2 and "noisy/3.wav" in message and "\n" not in message


def test_the_task_needs_sound_and_fine_tuning(tmp_path: Path) -> None:
    recipe = recipes.write(tmp_path, RECIPE)
    for change, why in (
        ("data.media=null", "set it to audio"),
        ("fine_tuning=none", "learns there what noise is"),
        ("fine_tuning.onnx=true", "which ONNX is not made for"),
    ):
        done = cli.modelmill("run", recipe, "--set", change)
        assert done.returncode == 2 and why in done.stderr
