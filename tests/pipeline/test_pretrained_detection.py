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
from tests import cli, recipes
from tests.layouts import write_all
from tests.pipeline.conftest import Finished, finish, kfp_reuses_all
from tests.pipeline.test_image_detection import SHAPES, Row, write_pictures
from tests.pretrained import detectors

RECIPE: dict[str, Any] = {
    "name": "tiny-detr",
    "task": "image_detection",
    "data": {"path": "data", "suite": "suite.json"},
    "preprocessing": {"classes": list(SHAPES), "validation": 0.15, "test": 0.3},
    "model": {"type": "auto"},
    "pretraining": {"init": "checkpoint", "steps": 0, "learning_rate": 0.001},
    "fine_tuning": {"steps": 8, "batch_size": 4, "evaluate_every": 4, "learning_rate": 0.001},
    # A few steps of a random network do not beat what is trivial.
    "evaluation": {"samples": 2, "baseline": False, "comparison": "none"},
    "registration": {"model": "tiny-detr"},
}


def prepare(folder: Path, pictures: int = 30) -> list[Row]:
    """A checkpoint that knows cats, dogs and owls, and wide and high pictures of shapes, whose rows it returns."""
    detectors.write("detr", folder / "checkpoint")
    rows = write_pictures(folder / "data", pictures, singles=0)["pictures"]
    for manifest_file in (folder / "data").glob("*.jsonl"):
        manifest_file.unlink()
    for number, row in enumerate(rows):
        width, height = row["size"] = [(48, 48), (60, 48), (48, 72)][number % 3]
        file = folder / "data" / row["file"]
        wider = Image.new("RGB", (width, height))
        wider.paste(Image.open(file))
        wider.save(file)
    return rows


def describe_as_coco(folder: Path, rows: list[Row]) -> None:
    """One file of annotations, with left, top, width and height of each box."""
    images = [
        {"id": n, "file_name": row["file"], "width": row["size"][0], "height": row["size"][1]}
        for n, row in enumerate(rows)
    ]
    boxes = [
        (n, label, [left, top, right - left, bottom - top])
        for n, row in enumerate(rows)
        for label, (left, top, right, bottom) in zip(row["labels"], row["boxes"], strict=True)
    ]
    annotations = [
        {"id": one, "image_id": n, "category_id": list(SHAPES).index(label), "bbox": box}
        for one, (n, label, box) in enumerate(boxes)
    ]
    categories = [{"id": n, "name": name} for n, name in enumerate(SHAPES)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    write_all(folder, {"annotations/instances_train.json": json.dumps(document)})


def describe_as_yolo(folder: Path, rows: list[Row]) -> None:
    """A file of lines beside each picture: class, and middle, width and height as fractions."""
    files: dict[str, bytes | str] = {"data.yaml": f"names: {json.dumps(list(SHAPES))}\n"}
    for row in rows:
        lines = []
        for label, box in zip(row["labels"], row["boxes"], strict=True):
            left, top, right, bottom = np.array(box) / (row["size"] * 2)
            numbers = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
            lines.append(" ".join([str(list(SHAPES).index(label)), *(f"{number:.7f}" for number in numbers)]) + "\n")
        files[row["file"].replace(".png", ".txt")] = "".join(lines)
    write_all(folder, files)


def recipe_of(folder: Path, layout: str, **changes: Any) -> Path:
    """The recipe for data in a layout, with the suite that `data profile` drafts and `data validate` runs."""
    suite = folder / "drafted.json"
    drafted = cli.modelmill("data", "profile", folder / "data", "-o", suite)
    assert f"data: {{layout: {layout}, media: images}}" in drafted.stdout, drafted.stderr
    judged = cli.modelmill("data", "validate", folder / "data", "--suite", suite)
    assert judged.returncode == 0, judged.stdout
    return recipes.write(folder, RECIPE, json.loads(suite.read_text()), data__layout=layout, **changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("detr")
    describe_as_coco(folder / "data", prepare(folder))
    return finish(recipe_of(folder, "coco"))


def test_yolos_boxes_train_a_checkpoints_detector(tmp_path: Path) -> None:
    rows = prepare(tmp_path)
    describe_as_yolo(tmp_path / "data", rows)
    steps = {f"fine_tuning__{key}": 1 for key in ("steps", "evaluate_every")}
    run = finish(recipe_of(tmp_path, "yolo", evaluation__confidence=0.01, evaluation__samples=0, **steps))
    row = rows[0]
    image = base64.b64encode((tmp_path / "data" / row["file"]).read_bytes()).decode()
    answered = run.predict({"image": image})
    assert answered.returncode == 0, answered.stderr
    answer = json.loads(answered.stdout)
    assert set(answer["labels"]) <= set(SHAPES) and len(answer["boxes"]) == len(answer["labels"]) > 0


def test_a_check_of_the_model_says_how_it_is_fed_before_anything_runs(finished: Finished) -> None:
    checked = cli.modelmill("plan", finished.recipe, "--check-model")
    assert checked.returncode == 0 and "pictures of one size together" in checked.stdout, checked.stderr


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
