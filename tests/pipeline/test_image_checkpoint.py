"""A checkpoint's classifier of images from the command line: what was trained is what transformers loads and serves."""

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modelmill.runtime import run_records
from modelmill.store import manifest, open_store
from modelmill.store.manifest import Manifest
from tests import cli, media, recipes
from tests.component.steps import Steps
from tests.pipeline.conftest import Finished, finish
from tests.pretrained import vision

RECIPE: dict[str, Any] = {
    "name": "tiny-checkpoint",
    "task": "image_classification",
    "data": {"path": "data", "media": "images", "suite": "suite.json"},
    "preprocessing": {"label": "kind", "classes": ["across", "down"], "validation": 0.2, "test": 0.3},
    "model": {"type": "auto", "shift": 0.05, "turn": 3.0, "zoom": 0.0},
    "pretraining": {"init": "checkpoint", "steps": 0, "learning_rate": 0.01},
    "fine_tuning": {"steps": 30, "batch_size": 16, "learning_rate": 0.01, "evaluate_every": 10},
    "evaluation": {"gate": {}, "baseline": False, "samples": 4, "comparison": "none"},
    "registration": {"model": "tiny-checkpoint"},
}
# The most probable label of images, in a process that knows transformers alone.
CLEAN = """
import io, json, sys
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification

model = AutoModelForImageClassification.from_pretrained(sys.argv[1]).eval()
process = AutoImageProcessor.from_pretrained(sys.argv[1], backend="pil")
found = []
for line in sys.stdin:
    picture = Image.open(io.BytesIO(bytes.fromhex(line.strip()))).convert("RGB")
    scores = model(**process(images=picture, return_tensors="pt")).logits[0].double().softmax(0)
    found.append([model.config.id2label[int(scores.argmax())], float(scores.max())])
print(json.dumps(found))
"""


def bar(kind: str, number: int) -> bytes:
    """A bar in some colour on a dark ground, of several sizes and formats."""
    ink, draws = media.bar(kind, number)
    pixels = np.where(ink[:, :, None], draws.integers(100, 256, 3), draws.integers(0, 60, 3)).astype(np.uint8)
    size = 24 + 4 * (number % 5)
    picture = Image.fromarray(pixels).resize((size, size + number % 3))
    return media.encoded(picture, "JPEG" if number % 2 else "PNG")


def write(folder: Path, **changes: Any) -> Path:
    vision.write(folder / "checkpoint", "vit", ["down", "across"])
    images = {f"{kind}-{n}": (kind, bar(kind, n)) for kind in ("across", "down") for n in range(40)}
    (folder / "data" / "images").mkdir(parents=True)
    for name, (_, data) in images.items():
        (folder / "data" / "images" / name).write_bytes(data)
    lines = [f"images/{name},{kind}" for name, (kind, _) in images.items()]
    for part in range(2):
        (folder / "data" / f"bars-{part}.csv").write_text("\n".join(["file,kind", *lines[part::2]]) + "\n")
    return recipes.write(folder, RECIPE, **changes)


def made(finished: Finished, output: str) -> Manifest:
    store = open_store(f"file://{finished.store}")
    step, name = output.split(".")
    record = run_records.read_step(store, finished.summary["run_id"], step)
    assert record is not None
    return manifest.load(store, record.outputs[name])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return finish(write(tmp_path_factory.mktemp("checkpoint")))


def test_what_was_trained_is_what_transformers_loads_and_what_is_served(finished: Finished, tmp_path: Path) -> None:
    store = open_store(f"file://{finished.store}")
    model = made(finished, "fine_tuning.model")
    assert model.info["head"] == "the checkpoint's" and model.info["way"]
    manifest.place(store, model.under("model"), tmp_path)
    images = [bar(kind, number) for kind in ("across", "down") for number in (100, 101, 102)]
    done = subprocess.run(
        [sys.executable, "-c", CLEAN, str(tmp_path / "model")],
        input="\n".join(image.hex() for image in images),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-800:]
    expected = json.loads(done.stdout)
    answered = finished.predict(*({"image": base64.b64encode(image).decode()} for image in images))
    found = [json.loads(line) for line in answered.stdout.splitlines()]
    assert [one["label"] for one in found] == [label for label, _ in expected], answered.stderr
    assert [one["probability"] for one in found] == pytest.approx([share for _, share in expected], abs=1e-4)


def test_it_is_trained_and_its_images_are_shown(finished: Finished) -> None:
    assert made(finished, "fine_tuning.model").info["trained"]
    assert finished.evaluation("metrics.json").keys() >= {"accuracy", "loss"}
    assert finished.page.count('src="data:image/png;base64,') >= 4


def test_a_new_shard_costs_one_shard(finished: Finished, tmp_path: Path) -> None:
    corpus = made(finished, "preprocessing.corpus")
    steps = Steps(finished.recipe, tmp_path / "steps")
    steps.store = open_store(f"file://{finished.copy(tmp_path)}")
    data = finished.recipe.parent / "data"
    (data / "images" / "more").write_bytes(bar("down", 77))
    (data / "more.csv").write_text("file,kind\nimages/more,down\n")
    grown = steps.corpus()
    (data / "more.csv").unlink()
    before, after = ({e.path: e.sha256 for e in one.entries if ".image." in e.path} for one in (corpus, grown))
    assert before.items() <= after.items() and len(after) > len(before)
    encoded = {e.path for e in grown.entries if e.path.startswith("checkpoint/")}
    assert {"checkpoint/config.json", "checkpoint/preprocessor_config.json"} <= encoded


def test_labels_in_another_spelling_stop_preprocessing(tmp_path: Path) -> None:
    recipe = write(tmp_path)
    vision.write(tmp_path / "checkpoint", "vit", ["Down", "Across"])
    steps = Steps(recipe, tmp_path / "steps")
    dataset = steps.call("data_validation", ["dataset", "validation"])["dataset"]
    code, message = steps.fails("preprocessing", ["corpus"], dataset=dataset)
    assert code == 2 and "its labels differ from the data's in spelling alone" in message


def test_mistakes_are_one_line_in_plan(tmp_path: Path) -> None:
    recipe = write(tmp_path)

    def refused(*changes: str) -> str:
        done = cli.modelmill("plan", recipe, *(part for change in changes for part in ("--set", change)))
        assert done.returncode == 2, done.stdout
        return " ".join(done.stderr.split())

    assert "the checkpoint's image processor decides" in refused("preprocessing.size=64")
    assert "the checkpoint is trained already" in refused('preprocessing.other_classes=["falling", "rising"]')
    processor = tmp_path / "checkpoint" / "preprocessor_config.json"
    held = processor.read_text()
    processor.write_text(json.dumps({"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 16000}))
    assert "which is no image processor" in refused()
    processor.unlink()
    assert "no preprocessor_config.json in it" in refused()
    processor.write_text(held)
    config = tmp_path / "checkpoint" / "config.json"
    config.write_text(config.read_text().replace('"vit"', '"bert"'))
    assert "has no AutoModelForImageClassification" in refused()


def test_another_size_is_proved_before_the_run(tmp_path: Path) -> None:
    recipe = write(tmp_path)
    checked = cli.modelmill("plan", recipe, "--check-model", "--set", "preprocessing.processor.size=48")
    assert checked.returncode == 0, checked.stderr
    vision.write(tmp_path / "checkpoint", "levit")
    checked = cli.modelmill("plan", recipe, "--check-model", "--set", "preprocessing.processor.size=48")
    assert checked.returncode == 2
    assert "leave preprocessing.processor.size out" in " ".join(checked.stderr.split())
