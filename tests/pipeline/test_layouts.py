"""Folders of images by split and class, to a registered model, with the splits of the folders.

That other layouts become the corpora that their manifests become, and keep the suites that `data profile` drafts, is
shown without a run; see tests/component/test_layouts.py.
"""

from pathlib import Path
from typing import Any

from tests import recipes
from tests.layouts import write_all
from tests.pipeline import test_image_classification
from tests.pipeline.conftest import finish
from tests.pipeline.test_image_classification import bar

IMAGES = {"train": 12, "val": 4, "test": 5}
CHANGES: dict[str, Any] = {
    "data__layout": "image_folder",
    "preprocessing": {"label": "label", "labelled_per_class": 12, "size": 12, "channels": 1, "split_from": "split"},
    "pretraining": "none",
    "fine_tuning__steps": 1,
    "fine_tuning__evaluate_every": 1,
    "evaluation": {"baseline": False, "comparison": "none", "samples": 0},
}


def test_folders_of_images_go_through_all_steps_in_their_splits(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for split, count in IMAGES.items():
        names = [(kind, n) for kind in ("falling", "rising") for n in range(count)]
        write_all(data / split, {f"{kind}/{n}.png": bar(kind, ord(split[0]) * 100 + n) for kind, n in names})
    run = finish(recipes.write(tmp_path, test_image_classification.RECIPE, **CHANGES, data__path=str(data)))
    headline = next(step["headline"] for step in run.summary["steps"] if step["name"] == "preprocessing")
    assert headline.startswith("24 train, 8 validation, 10 test"), headline
