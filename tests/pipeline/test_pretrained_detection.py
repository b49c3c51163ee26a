"""The detector of a checkpoint from the command line: fine-tuned, evaluated, registered and asked."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modelmill.store import manifest, open_store
from tests import recipes
from tests.pipeline.conftest import Finished, finish, kfp_reuses_all
from tests.pipeline.test_image_detection import SHAPES, save, write_pictures
from tests.pretrained import detectors

RECIPE: dict[str, Any] = {
    "name": "tiny-detr",
    "task": "image_detection",
    "data": {"path": "data", "media": "images", "suite": "suite.json"},
    "preprocessing": {"classes": list(SHAPES), "validation": 0.15, "test": 0.3},
    "model": {"type": "auto"},
    "pretraining": {"init": "checkpoint", "steps": 0, "learning_rate": 0.001},
    "fine_tuning": {"steps": 12, "batch_size": 4, "evaluate_every": 6, "learning_rate": 0.001},
    # A few steps of a random network do not beat what is trivial.
    "evaluation": {"samples": 2, "baseline": False, "comparison": "none"},
    "registration": {"model": "tiny-detr"},
}


def prepare(folder: Path, kind: str = "detr", pictures: int = 40) -> Path:
    """A checkpoint that knows cats, dogs and owls, and pictures of shapes, wide ones and high ones."""
    detectors.write(kind, folder / "checkpoint")
    rows = write_pictures(folder / "data", pictures, singles=0)["pictures"]
    for number, row in enumerate(rows[::2]):
        file = folder / "data" / row["file"]
        size = (48, 60) if number % 2 else (72, 48)
        wider = Image.new("RGB", size)
        wider.paste(Image.open(file))
        wider.save(file)
    save(folder / "data", {"pictures": rows})
    (folder / "data" / "singles.jsonl").unlink()
    return recipes.write(folder, RECIPE)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return finish(prepare(tmp_path_factory.mktemp("detr")))


def test_kfps_runner_reuses_what_the_local_one_made(finished: Finished, tmp_path: Path) -> None:
    kfp_reuses_all(finished, tmp_path)


def model_of(run: Finished, step: str, folder: Path) -> tuple[Path, dict[str, Any]]:
    store = open_store(f"file://{run.store}")
    made = manifest.load(store, next(one["output_digest"] for one in run.summary["steps"] if one["name"] == step))
    manifest.place(store, made.under("model"), folder)
    return folder / "model", made.info


def test_the_model_is_one_that_transformers_loads_with_its_processor(finished: Finished, tmp_path: Path) -> None:
    from transformers import AutoImageProcessor, AutoModelForObjectDetection

    folder, info = model_of(finished, "fine_tuning", tmp_path)
    assert info["trained"] and info["head"] == "new" and info["way"].startswith("pictures of one size together")
    model, report = AutoModelForObjectDetection.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()) and list(model.config.id2label.values()) == list(SHAPES)
    assert AutoImageProcessor.from_pretrained(folder, backend="pil").size.longest_edge == detectors.SIDE


def test_the_registered_model_finds_what_the_report_shows_and_transformers_finds(
    finished: Finished, tmp_path: Path
) -> None:
    from transformers import AutoImageProcessor, AutoModelForObjectDetection

    shown = finished.evaluation("samples.json")
    answered = finished.predict(*({"image": one["png"]} for one in shown))
    assert answered.returncode == 0, answered.stderr
    folder, _ = model_of(finished, "fine_tuning", tmp_path)
    model = AutoModelForObjectDetection.from_pretrained(folder).eval()
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    for line, sample in zip(answered.stdout.splitlines(), shown, strict=True):
        answer = json.loads(line)
        picture = Image.open(io.BytesIO(base64.b64decode(sample["png"])))
        said = model(**processor(images=picture, return_tensors="pt"))
        (theirs,) = processor.post_process_object_detection(said, threshold=0.3, target_sizes=[picture.size[::-1]])
        assert sorted(answer["scores"]) == pytest.approx(sorted(theirs["scores"].tolist()), abs=1e-3)
        assert answer["labels"] == [one["label"] for one in sample["found"]] and sample["found"]
        assert np.allclose(answer["boxes"], [one["box"] for one in sample["found"]], atol=0.1)
