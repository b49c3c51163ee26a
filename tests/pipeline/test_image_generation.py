"""A generator of images from the command line: it makes bars of some directions after bars of others."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests import media, recipes
from tests.component.steps import Steps
from tests.pipeline.conftest import Finished, finish, kfp_reuses_all

TRAINING: dict[str, Any] = {"batch_size": 32, "learning_rate": 0.004, "beta1": 0.5, "beta2": 0.99, "clip_norm": 10.0}
RECIPE: dict[str, Any] = {
    "name": "tiny-generation",
    "task": "image_generation",
    "data": {"path": "data", "media": "images", "corrupt_files": "leave_out", "suite": "suite.json"},
    "preprocessing": {
        "label": "kind",
        "fine_tune_on": ["falling", "rising"],
        "images": 100,
        "size": media.BAR_SIDE,
        "channels": 1,
        "validation": 0.15,
        "test": 0.25,
    },
    "model": {"latent": 8, "width": 16, "penalty": 0.3},
    "pretraining": {"steps": 150, "evaluate_every": 50, "ema": 0.9, **TRAINING},
    "fine_tuning": {"steps": 400, "evaluate_every": 100, "schedule": "cosine", "ema": 0.9, **TRAINING},
    "evaluation": {"generated": 200, "samples": 12, "comparison": {"too_few": "thresholds"}},
    "registration": {"model": "tiny-generation"},
}


def bar(kind: str, number: int) -> bytes:
    """A bright bar on a dark ground."""
    ink, draws = media.bar(kind, number)
    return media.grey((40 + np.where(ink, 160, 0) + draws.normal(0, 4, ink.shape)).round())


def write_images(folder: Path, count: int, **more: tuple[str, bytes]) -> None:
    media.write_bars(folder, bar, count, more)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("generation")
    write_images(folder / "data", 100, broken=("rising", bar("rising", 0)[:-30]))
    return finish(recipes.write(folder, RECIPE))


def test_kfps_runner_reuses_what_the_local_one_made(finished: Finished, tmp_path: Path) -> None:
    kfp_reuses_all(finished, tmp_path)


def test_its_images_are_nearer_to_held_out_ones_than_noise_a_gaussian_and_before_fine_tuning(
    finished: Finished,
) -> None:
    gate, metrics = finished.evaluation("gate.json"), finished.evaluation("metrics.json")
    beaten = {check["baseline"] for check in gate["checks"] if "baseline" in check and check["passed"]}
    assert beaten == {"noise", "a Gaussian of the pixels", "before fine-tuning"}
    assert metrics["frechet_real"] < metrics["frechet"] < min(metrics["frechet_before"], metrics["frechet_noise"])
    page = finished.page
    assert "images/broken.png" in page and page.count('src="data:image/png;base64,') == 12


def test_the_registered_model_makes_the_same_grid_for_the_same_seed(finished: Finished) -> None:
    answered = finished.predict(*({"seed": seed, "count": 5} for seed in (1, 2, 1)))
    one, other, again = [json.loads(line)["image"] for line in answered.stdout.splitlines()]
    assert one == again != other, answered.stderr
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(one))))
    side = media.BAR_SIDE
    assert pixels.shape == (2 * side, 3 * side), "five images in two rows of three"
    assert not pixels[side:, 2 * side :].any() and pixels[:side, :side].std() > 10


def test_a_seed_or_a_count_that_cannot_be_is_one_line(finished: Finished) -> None:
    answered = finished.predict({"seed": 1, "count": 0})
    assert answered.returncode == 2 and "count from 1 to 1,024" in answered.stderr.replace("\n", " ")


def test_bad_images_and_labels_are_one_line_with_what_to_do(tmp_path: Path) -> None:
    write_images(tmp_path / "data", 20, small=("rising", media.png(9, (9, 40), "L")))
    recipe = recipes.write(tmp_path, RECIPE)
    dataset = Steps(recipe, tmp_path / "0").call("data_validation", ["dataset", "validation"])["dataset"]

    def refused(*changes: str) -> str:
        code, message = Steps(recipe, tmp_path / "0", *changes).fails("preprocessing", ["corpus"], dataset=dataset)
        assert code == 2 and "\n" not in message
        return message

    assert "images/small.png: 9 x 40 pixels, fewer than preprocessing.size, 12" in refused()
    dropped = "preprocessing.small=drop"
    assert "no image has the label 'loop'; there are across, down" in refused(
        dropped, 'preprocessing.fine_tune_on=["loop"]'
    )
    everything = f"preprocessing.fine_tune_on={json.dumps(media.BAR_KINDS)}"
    assert "no image with a label beside it is in the train split" in refused(dropped, everything)
