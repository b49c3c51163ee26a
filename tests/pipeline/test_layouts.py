"""A folder of images by class, and a file of COCO annotations, from `data profile` to a registered model's answer."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests import cli, recipes
from tests.component.test_layouts import write_bars_by_class, write_shapes_as_coco
from tests.pipeline import test_image_classification, test_image_detection
from tests.pipeline.conftest import finish

LITTLE: dict[str, Any] = {
    "fine_tuning__steps": 2,
    "fine_tuning__evaluate_every": 2,
    "evaluation": {"baseline": False, "comparison": "none", "samples": 1},
}
RUNS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "image_folder": (
        test_image_classification.RECIPE,
        {"pretraining__steps": 2, "pretraining__evaluate_every": 2, "preprocessing__label": "label"},
    ),
    "coco": (test_image_detection.RECIPE, {"pretraining": "none"}),
}


@pytest.mark.parametrize("layout", RUNS)
def test_a_layout_goes_through_all_steps(tmp_path: Path, layout: str) -> None:
    data, suite = tmp_path / "data", tmp_path / "drafted.json"
    write_bars_by_class(data) if layout == "image_folder" else write_shapes_as_coco(data)
    drafted = cli.modelmill("data", "profile", data, "-o", suite)
    assert f"data: {{layout: {layout}, media: images}}" in drafted.stdout, drafted.stderr
    judged = cli.modelmill("data", "validate", data, "--suite", suite)
    assert judged.returncode == 0, judged.stdout
    document, changes = RUNS[layout]
    given = {"data__path": str(data), "data__layout": layout}
    recipe = recipes.write(tmp_path, document, json.loads(suite.read_text()), **LITTLE, **changes, **given)
    run = finish(recipe)
    image = next(data.rglob("*.png")).read_bytes()
    answered = run.predict({"image": base64.b64encode(image).decode()})
    assert answered.returncode == 0 and "label" in answered.stdout, answered.stderr
