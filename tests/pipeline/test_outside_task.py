"""A kind of model from outside the package, found by its entry point: the one that `modelmill new-task` writes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests import cli


class Installed(NamedTuple):
    """A distribution as pip has installed it, and the summary of its recipe's run."""

    folder: Path
    recipe: Path
    store: Path
    summary: dict[str, Any]

    @property
    def package(self) -> Path:
        return self.folder / "shapes"


def path_to(folder: Path) -> dict[str, str]:
    """The environment in which a distribution in a folder is installed."""
    return {"PYTHONPATH": f"{cli.ROOT}:{folder}"}


def install(folder: Path) -> Path:
    """`modelmill new-task shapes`, and the metadata that pip would write."""
    done = cli.modelmill("new-task", "shapes", "--into", folder)
    assert done.returncode == 0, done.stderr
    made = folder / "shapes"
    metadata = made / "shapes-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: shapes\nVersion: 0.1.0\n")
    (metadata / "entry_points.txt").write_text("[modelmill.tasks]\nshapes = shapes\n")
    return made


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The package with its demo data, after its recipe has run."""
    folder = install(tmp_path_factory.mktemp("outside"))
    made = cli.modelmill("demo-data", "shapes", "--output", folder / "data" / "shapes", **path_to(folder))
    assert made.returncode == 0, made.stderr
    recipe, store = folder / "recipes" / "shapes.yaml", folder / "store"
    return Installed(folder, recipe, store, cli.run_json(recipe, store, **path_to(folder)))


def test_the_recipe_that_is_written_runs_and_its_model_answers(installed: Installed, tmp_path: Path) -> None:
    summary = installed.summary
    assert summary["returncode"] == 0, summary["stderr"]
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"a": 0.5, "b": 0.25}\n{"a": -0.5, "b": 0}\n')
    address = f"file://{installed.store}"
    answered = cli.modelmill("predict", "shapes", rows, "--store", address, **path_to(installed.folder))
    values = [json.loads(line)["value"] for line in answered.stdout.splitlines()]
    assert values == pytest.approx([0.875, -1], abs=0.15)
    page = Path(summary["report"].removeprefix("file://")).read_text("utf-8")
    assert "always the mean" in page and "Held-out examples" in page


def test_its_training_is_estimated_before_a_first_run(installed: Installed, tmp_path: Path) -> None:
    done = cli.modelmill(
        "plan", installed.recipe, "--store", f"file://{tmp_path}/store", "--json", **path_to(installed.folder)
    )
    (estimate,) = [step["estimate"] for step in json.loads(done.stdout)["steps"] if step["name"] == "fine_tuning"]
    assert estimate["parameters"] == 2 * 32 + 32 + 32 + 1
    assert estimate["model_flops"] == 400 * 64 * 2 * (2 * 2 * 32 + 3 * 32)


def test_the_test_that_is_written_passes(installed: Installed) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(
        command, cwd=installed.folder, env=cli.environment(**path_to(installed.folder)), capture_output=True, text=True
    )
    assert done.returncode == 0 and "3 passed" in done.stdout, done.stdout


def test_a_change_in_its_evaluation_trains_nothing_again(installed: Installed) -> None:
    evaluate = installed.package / "evaluate.py"
    evaluate.write_text(evaluate.read_text() + "\n# changed\n")
    steps = cli.statuses(cli.run_json(installed.recipe, installed.store, **path_to(installed.folder)))
    assert (steps["preprocessing"], steps["fine_tuning"], steps["evaluation"]) == ("reused", "reused", "ran")


def test_a_package_that_breaks_the_contract_is_refused_before_anything_runs(tmp_path: Path) -> None:
    folder = install(tmp_path)
    (folder / "shapes" / "evaluate.py").write_text("def judge(step, task):\n    return None\n")
    done = cli.modelmill("plan", folder / "recipes" / "shapes.yaml", **path_to(folder))
    assert (done.returncode, done.stdout) == (2, "")
    said = "task shapes: evaluate.py: no function evaluate(step, task); see docs/add-a-task.md"
    assert done.stderr.strip() == f"modelmill: {said}"


def test_without_it_the_recipe_is_refused_with_the_tasks_that_there_are(tmp_path: Path) -> None:
    recipe = install(tmp_path) / "recipes" / "shapes.yaml"
    done = cli.modelmill("run", recipe, "--store", f"file://{tmp_path}/store")
    assert done.returncode == 2 and "task: 'shapes' is not one of" in done.stderr
