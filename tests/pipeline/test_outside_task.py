"""A kind of model from outside the package, found by its entry point: the one of docs/add-a-task.md."""

import json
import random
import re
from pathlib import Path

import pytest
import yaml

from tests import cli

PAGE = Path(__file__).parents[2] / "docs" / "add-a-task.md"
BLOCK = re.compile(r"^`line_fitting/(\w+\.py)`:\n\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The page's package in a folder on the path, with the metadata that pip would write."""
    site = tmp_path / "site"
    package, metadata = site / "line_fitting", site / "line_fitting-1.0.dist-info"
    package.mkdir(parents=True)
    metadata.mkdir()
    (package / "__init__.py").touch()
    for name, source in BLOCK.findall(PAGE.read_text("utf-8")):
        (package / name).write_text(source)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: line-fitting\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[modelmill.tasks]\nline_fitting = line_fitting\n")
    return site


def path_to(site: Path) -> dict[str, str]:
    return {"PYTHONPATH": f"{cli.ROOT}:{site}"}


def write_recipe(folder: Path) -> Path:
    draw = random.Random(0)
    rows = [(draw.uniform(-1, 1), draw.uniform(-1, 1)) for _ in range(400)]
    lines = [f"{a:.6f},{b:.6f},{2 * a - b + 0.5 + draw.gauss(0, 0.05):.6f}" for a, b in rows]
    (folder / "line.csv").write_text("\n".join(["a,b,y", *lines]) + "\n")
    recipe = {
        "name": "line",
        "task": "line_fitting",
        "data": {"path": "line.csv", "suite": "suite.json"},
        "preprocessing": {"features": ["a", "b"], "target": "y", "validation": 0.2, "test": 0.2},
        "pretraining": "none",
        "fine_tuning": {"steps": 60, "learning_rate": 0.1, "batch_size": "all", "evaluate_every": 20},
        "evaluation": {"gate": {"mean_squared_error": {"max": 0.02}}},
        "registration": {"model": "line"},
    }
    expectation = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "y"}}
    (folder / "suite.json").write_text(json.dumps({"name": "line", "expectations": [expectation]}))
    path = folder / "line.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def test_a_task_from_outside_goes_through_all_steps(installed: Path, tmp_path: Path) -> None:
    recipe, store = write_recipe(tmp_path), tmp_path / "store"
    summary = cli.run_json(recipe, store, **path_to(installed))
    assert summary["returncode"] == 0, summary["stderr"]
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"a": 0.5, "b": 0.25}\n{"a": -0.5, "b": 0}\n')
    answered = cli.modelmill("predict", "line", rows, "--store", f"file://{store}", **path_to(installed))
    values = [json.loads(line)["value"] for line in answered.stdout.splitlines()]
    assert values == pytest.approx([1.25, -0.5], abs=0.1)
    page = Path(summary["report"].removeprefix("file://")).read_text("utf-8")
    assert "always the mean" in page and "Held-out examples" in page


def test_a_change_in_its_evaluation_trains_nothing_again(installed: Path, tmp_path: Path) -> None:
    recipe, store = write_recipe(tmp_path), tmp_path / "store"
    assert cli.run_json(recipe, store, **path_to(installed))["returncode"] == 0
    evaluate = installed / "line_fitting" / "evaluate.py"
    evaluate.write_text(evaluate.read_text() + "\n# changed\n")
    steps = cli.statuses(cli.run_json(recipe, store, **path_to(installed)))
    assert (steps["preprocessing"], steps["fine_tuning"], steps["evaluation"]) == ("reused", "reused", "ran")


def test_without_it_the_recipe_is_refused_with_the_tasks_that_there_are(tmp_path: Path) -> None:
    summary = cli.modelmill("run", write_recipe(tmp_path), "--store", f"file://{tmp_path}/store")
    assert summary.returncode == 2 and "task: 'line_fitting' is not one of" in summary.stderr


def test_the_example_is_short() -> None:
    sources = [source for _, source in BLOCK.findall(PAGE.read_text("utf-8"))]
    assert len(sources) == 6 and sum(len(source.splitlines()) for source in sources) < 120
