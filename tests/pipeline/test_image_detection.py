"""A detector from the command line: bright squares and bars with boxes, and pictures of one of them without."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelmill.data.media.images import png
from tests import cli, recipes
from tests.component.steps import Steps
from tests.pipeline.conftest import Finished, finish, kfp_reuses_all

SHAPES = {"square": (12, 12), "bar": (20, 8)}
Row = dict[str, Any]
STAGE: dict[str, Any] = {"batch_size": 16, "learning_rate": 0.01, "schedule": "cosine", "warmup": 0.1}
RECIPE: dict[str, Any] = {
    "name": "tiny-shapes",
    "task": "image_detection",
    "data": {"path": "data", "media": "images", "suite": "suite.json"},
    "preprocessing": {
        "classes": list(SHAPES),
        "size": 48,
        "single_size": 24,
        "validation": 0.15,
        "test": 0.3,
    },
    "model": {"width": 8, "dropout": 0.0},
    "pretraining": {"steps": 30, "evaluate_every": 30, **STAGE},
    "fine_tuning": {"steps": 120, "evaluate_every": 60, **STAGE},
    "evaluation": {"samples": 3, "comparison": {"minimum": 20}},
    "registration": {"model": "tiny-shapes"},
}


def draw(random: np.random.Generator, side: int, count: int) -> tuple[bytes, Row]:
    """A noisy picture with shapes side by side, and what is on it."""
    pixels = random.integers(0, 90, (side, side, 3)).astype(np.uint8)
    row: Row = {"labels": [], "boxes": []}
    for place in range(count):
        name = str(random.choice(list(SHAPES)))
        height, width = SHAPES[name]
        left = 24 * place + int(random.integers(0, 24 - width))
        top = int(random.integers(0, side - height))
        pixels[top : top + height, left : left + width] = random.integers(180, 256, (height, width, 3))
        row["labels"].append(name)
        row["boxes"].append([left, top, left + width, top + height])
    return png(pixels), row


def write_pictures(folder: Path, pictures: int = 150, singles: int = 100) -> dict[str, list[Row]]:
    """Two manifests in one folder, as a person has them; returns their rows."""
    random = np.random.default_rng(0)
    rows: dict[str, list[Row]] = {"pictures": [], "singles": []}
    for number in range(pictures + singles):
        is_single = number >= pictures
        kind = "singles" if is_single else "pictures"
        data, row = draw(random, 24 if is_single else 48, 1 if is_single else 1 + number % 2)
        name = f"{kind}/{number}.png"
        (folder / kind).mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        rows[kind].append({"file": name, **row, **({"boxes": []} if is_single else {})})
    save(folder, rows)
    return rows


def save(folder: Path, rows: dict[str, list[Row]]) -> None:
    for kind, some in rows.items():
        (folder / f"{kind}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("shapes")
    write_pictures(folder / "data")
    (folder / "data" / "pictures" / "7.png").write_bytes(b"\x89PNG cut off")
    return finish(recipes.write(folder, RECIPE, data__corrupt_files="leave_out"))


def test_kfps_runner_reuses_what_the_local_one_made(finished: Finished, tmp_path: Path) -> None:
    kfp_reuses_all(finished, tmp_path)


def test_it_finds_more_than_trivial_detectors(finished: Finished) -> None:
    gate = finished.evaluation("gate.json")
    bounds = {check["baseline"]: check["min"] for check in gate["checks"]}
    assert set(bounds) == {"the same average boxes everywhere", "blobs and logistic regression"} and gate["passed"]
    metrics = finished.evaluation("metrics.json")
    assert metrics["map50"] > max(*bounds.values(), 0.5) and metrics["f1"] > 0.3


def test_the_registered_model_finds_what_the_report_shows(finished: Finished) -> None:
    shown = finished.evaluation("samples.json")
    assert [sample["kind"] for sample in shown] == ["boxes"] * 3
    assert all(sample["png"] in finished.page for sample in shown) and '<rect class="found"' in finished.page
    answered = finished.predict(*({"image": sample["png"]} for sample in shown))
    assert answered.returncode == 0, answered.stderr
    for line, sample in zip(answered.stdout.splitlines(), shown, strict=True):
        answer = json.loads(line)
        assert answer["labels"] == [one["label"] for one in sample["found"]] and sample["found"]
        expected = np.array([one["box"] for one in sample["found"]]).clip(0, 48)
        assert np.allclose(answer["boxes"], expected, atol=0.06)
        assert np.allclose(answer["scores"], [one["score"] for one in sample["found"]], atol=2e-3)


def test_an_image_that_is_none_or_too_small_is_refused_in_one_line(finished: Finished) -> None:
    small = base64.b64encode(png(np.zeros((20, 30, 3), np.uint8))).decode()
    broken = base64.b64encode(b"no image").decode()
    for image, why in ((small, "30 x 20 pixels, less than"), (broken, "cannot be decoded"), ("???", "not base64")):
        answered = finished.predict({"image": image})
        assert answered.returncode == 2 and why in answered.stderr and answered.stderr.count("\n") == 1


def test_a_broken_image_is_left_out_by_name(finished: Finished) -> None:
    validated = next(s for s in finished.summary["steps"] if s["name"] == "data_validation")
    assert "249 rows" in validated["headline"] and "pictures/7.png" in finished.page


def test_bad_data_is_one_line_with_what_to_do(tmp_path: Path) -> None:
    data = tmp_path / "data"
    rows = write_pictures(data, pictures=24, singles=12)
    good, recipe = json.dumps(rows), recipes.write(tmp_path, RECIPE)
    calls = iter(range(100))

    def prepare(number: int, change: Row, *settings: str, kind: str = "pictures") -> tuple[int, str]:
        changed = json.loads(good)
        changed[kind][number] |= change
        save(data, changed)
        at = Steps(recipe, tmp_path / str(next(calls)), *settings)
        dataset = at.call("data_validation", ["dataset", "validation"])["dataset"]
        if settings:
            made = at.call("preprocessing", ["corpus"], dataset=dataset)["corpus"]
            return sum(split["examples"] for split in made.info["splits"].values()), at.record("preprocessing").headline
        code, message = at.fails("preprocessing", ["corpus"], dataset=dataset)
        assert "\n" not in message
        return code, message

    unknown = {"labels": ["ring"], "boxes": [[1, 2, 13, 14]]}
    code, message = prepare(4, unknown)
    assert code == 2 and "unknown_label: pictures/4.png of pictures.jsonl: label 'ring' is not one of" in message
    assert "--set preprocessing.unknown_label=drop" in message
    left, headline = prepare(4, unknown, "preprocessing.unknown_label=drop")
    assert left == 23 and "1 left out" in headline
    outside = {"labels": ["bar"], "boxes": [[40, 2, 48.5, 14]]}
    assert "bad_box: pictures/5.png of pictures.jsonl: box [40, 2, 48.5, 14] is not in the" in prepare(5, outside)[1]
    flat = {"labels": ["bar"], "boxes": [[4, 2, 4, 14]]}
    assert "box [4, 2, 4, 14] has no area" in prepare(5, flat)[1]
    assert prepare(5, flat, "preprocessing.bad_box=drop")[0] == 23
    (data / "pictures" / "6.png").write_bytes(png(np.zeros((40, 30, 3), np.uint8)))
    small = {"labels": [], "boxes": []}
    assert "small: pictures/6.png of pictures.jsonl: 30 x 40 pixels, less than the" in prepare(6, small)[1]
    assert prepare(6, small, "preprocessing.small=enlarge")[0] == 24
    (data / "pictures" / "6.png").write_bytes(b"\x89PNG cut off")
    save(data, json.loads(good))
    code, message = Steps(recipe, tmp_path / "broken").fails("data_validation", ["dataset", "validation"])
    assert code == 2 and "pictures/6.png" in message and "\n" not in message


def test_without_single_objects_there_is_no_pretraining(tmp_path: Path) -> None:
    rows = write_pictures(tmp_path / "data", pictures=24, singles=3)
    save(tmp_path / "data", {"pictures": rows["pictures"], "singles": []})
    (tmp_path / "data" / "singles.jsonl").unlink()
    recipe = recipes.write(tmp_path, RECIPE)
    at = Steps(recipe, tmp_path / "0")
    corpus = at.corpus()
    code, message = at.fails("pretraining", ["model"], corpus=corpus)
    assert code == 2 and "no picture with one label and no box is in the train split" in message
    without = Steps(recipe, tmp_path / "0", "pretraining=none", "fine_tuning.steps=1")
    assert without.tuned(corpus, without.pretrained(corpus)).info["trained"]


def test_a_detector_reads_images_and_learns_boxes(tmp_path: Path) -> None:
    recipe = recipes.write(tmp_path, RECIPE)
    for change, why in (("data.media=null", "set it to images"), ("fine_tuning=none", "learns its boxes there")):
        done = cli.modelmill("run", recipe, "--set", change)
        assert done.returncode == 2 and why in done.stderr
