"""A run that trains only for a reason: `modelmill run --if-changed`."""

import shutil
from pathlib import Path
from typing import Any

import yaml

from tests import cli
from tests.recipes import table_recipe, write_table


def run(recipe: Path) -> dict[str, Any]:
    return cli.run_json(recipe, recipe.parent / "store", "--if-changed")


def test_it_trains_once_and_again_for_drift(tmp_path: Path) -> None:
    drift = {"data__retrain": "drift", "data__drift": {"minimum": 10}, "evaluation__comparison": "none"}
    recipe, data = table_recipe(tmp_path, write_table(tmp_path / "data"), **drift), tmp_path / "data"
    first = run(recipe)
    assert (first["outcome"], first["returncode"]) == ("registered", 0), first["stderr"]

    second = run(recipe)
    assert (second["outcome"], second["returncode"], second["failed_step"]) == ("nothing to do", 0, None)
    assert second["reason"] == f"nothing has changed since run {first['run_id']}"
    assert cli.statuses(second) == {"look": "ran"}
    report = (tmp_path / "store" / "objects" / "runs" / second["run_id"] / "report.html").read_text()
    assert "Why nothing was done" in report and second["reason"] in report

    shutil.copy(data / "table.csv", data / "more.csv")
    same = run(recipe)
    assert same["outcome"] == "nothing to do" and "has not drifted" in same["reason"]
    assert list(cli.statuses(same)) == ["look", "data_validation"]

    lines = (data / "table.csv").read_text().splitlines()
    moved = [f"{n},{9 + n % 7},{8 + n % 5},{'big' if n % 2 else 'small'}" for n in range(2000)]
    (data / "moved.csv").write_text("\n".join([lines[0], *moved]) + "\n")
    assert "fine_tuning" in cli.statuses(run(recipe))

    shutil.rmtree(data)
    done = cli.modelmill("run", recipe, "--store", f"file://{tmp_path}/store", "--if-changed")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "no such file or folder" in done.stderr


def test_on_a_cluster_the_training_is_below_both_conditions(tmp_path: Path) -> None:
    recipe, file = table_recipe(tmp_path, write_table(tmp_path / "data")), tmp_path / "pipeline.yaml"
    store = f"file://{tmp_path}/store"
    assert cli.modelmill("compile", recipe, "-o", file, "--if-changed", "--store", store).returncode == 0
    spec = next(iter(yaml.safe_load_all(file.read_text())))
    conditions = {
        task["taskInfo"]["name"]: task["triggerPolicy"]["condition"]
        for component in spec["components"].values()
        for task in component.get("dag", {}).get("tasks", {}).values()
        if "condition" in task.get("triggerPolicy", {})
    }
    assert set(conditions) == {"new-data", "reason-to-train", "gate-passed"}
    assert all(condition.endswith("== true") for condition in conditions.values())
