"""A classifier of images from the command line: it learns bars of some directions after bars of others."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelmill.store import manifest
from tests import cli, media, recipes
from tests.component.steps import Steps
from tests.pipeline.conftest import Finished, finish, kfp_reuses_all

TRAINING: dict[str, Any] = {"batch_size": 32, "learning_rate": 0.01, "evaluate_every": 20, "schedule": "cosine"}
RECIPE: dict[str, Any] = {
    "name": "tiny-images",
    "task": "image_classification",
    "data": {"path": "data", "media": "images", "corrupt_files": "leave_out", "suite": "suite.json"},
    "preprocessing": {
        "label": "kind",
        "classes": ["falling", "rising"],
        "other_classes": ["across", "down"],
        "labelled_per_class": 20,
        "size": media.BAR_SIDE,
        "channels": 1,
        "validation": 0.15,
        "test": 0.25,
    },
    "model": {"architecture": "vgg", "width": 8, "stages": 2, "turn": 3.0, "zoom": 0.0},
    "pretraining": {"steps": 60, **TRAINING},
    "fine_tuning": {"steps": 60, **TRAINING},
    "evaluation": {"gate": {"accuracy": {"min": 0.8}}, "samples": 10, "comparison": {"too_few": "thresholds"}},
    "registration": {"model": "tiny-images"},
}


def bar(kind: str, number: int) -> bytes:
    """A bar, darker or brighter than the ground, which is brighter above: its pixels alone tell little."""
    ink, draws = media.bar(kind, number)
    above = 5 * (media.BAR_SIDE / 2 - np.arange(media.BAR_SIDE))[:, None]
    return media.grey(128 + above + np.where(ink, 80, 0) * draws.choice([-1, 1]) + draws.normal(0, 12, ink.shape))


def write_images(folder: Path, count: int = 100, **more: tuple[str, bytes]) -> None:
    media.write_bars(folder, bar, count, more)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("images")
    write_images(folder / "data", broken=("rising", bar("rising", 0)[:-30]))
    return finish(recipes.write(folder, RECIPE))


def test_kfps_runner_reuses_what_the_local_one_made(finished: Finished, tmp_path: Path) -> None:
    kfp_reuses_all(finished, tmp_path)


def test_it_has_learned_more_than_a_linear_model_and_leaves_out_a_broken_file(finished: Finished) -> None:
    gate = finished.evaluation("gate.json")
    beaten = {(check["metric"], check["baseline"]) for check in gate["checks"] if "baseline" in check}
    linear = "logistic regression on the pixels"
    assert gate["passed"] and beaten == {
        ("loss", "the shares of the classes"),
        ("loss", linear),
        ("accuracy", linear),
    }
    page = finished.page
    assert "images/broken.png" in page
    assert page.count('src="data:image/png;base64,') >= 10 and "rising: found rising" in page


def test_the_registered_model_answers_as_it_was_measured(finished: Finished) -> None:
    images = [("falling", bar("falling", 1000)), ("rising", bar("rising", 1000)), ("rising", bar("rising", 1001))]
    answered = finished.predict(*({"image": base64.b64encode(one).decode()} for _, one in images))
    found = [json.loads(line) for line in answered.stdout.splitlines()]
    assert [one["label"] for one in found] == [label for label, _ in images], answered.stderr


def test_without_other_classes_pretraining_learns_rotations(finished: Finished, tmp_path: Path) -> None:
    steps = Steps(finished.recipe, tmp_path, "preprocessing.other_classes=[]", "preprocessing.unknown_label=drop")
    pretrained = steps.pretrained(steps.corpus())
    config = json.loads(manifest.read_entry(steps.store, pretrained.entry("model/config.json")))
    assert config["classes"] == ["0", "90", "180", "270"]
    assert pretrained.info["best_validation_loss"] < 1, "nats, of 1.39 for a guess"


def test_bad_images_and_labels_are_one_line_with_what_to_do(tmp_path: Path) -> None:
    write_images(tmp_path / "data", 20, small=("rising", media.png(9, (9, 40), "L")), other=("loop", bar("rising", 99)))
    recipe = recipes.write(tmp_path, RECIPE)
    dataset = Steps(recipe, tmp_path / "0").call("data_validation", ["dataset", "validation"])["dataset"]

    def refused(*changes: str) -> str:
        code, message = Steps(recipe, tmp_path / "0", *changes).fails("preprocessing", ["corpus"], dataset=dataset)
        assert code == 2 and "\n" not in message
        return message

    assert "images/small.png: 9 x 40 pixels, fewer than preprocessing.size, 12" in refused()
    dropped = "preprocessing.small=drop"
    assert "images/other.png: label 'loop' is not one of falling, rising, across, down" in refused(dropped)
    changes = ("preprocessing.small=enlarge", "preprocessing.unknown_label=drop")
    corpus = Steps(recipe, tmp_path / "0", *changes).call("preprocessing", ["corpus"], dataset=dataset)["corpus"]
    assert sum(split["examples"] for split in corpus.info["splits"].values()) == 81
    known = 'preprocessing.classes=["falling", "rising", "loop"]'
    assert "class 'loop' is missing from the" in refused(dropped, known)


def test_an_image_smaller_than_the_networks_field_is_refused_before_a_run(tmp_path: Path) -> None:
    write_images(tmp_path / "data", 2)
    done = cli.modelmill("run", recipes.write(tmp_path, RECIPE), "--set", "model.stages=4")
    assert done.returncode == 2
    assert "4 stages of vgg need images of 16 pixels a side, not 12" in done.stderr.replace("\n", " ")
