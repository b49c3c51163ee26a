"""A run that trains only for a reason: `modelmill run --if-changed`."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import cli
from tests.recipes import table_recipe, write_table


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return table_recipe(tmp_path, write_table(tmp_path / "data"))


def run(recipe: Path, *arguments: str, **env: str) -> dict[str, Any]:
    return cli.run_json(recipe, recipe.parent / "store", "--if-changed", *arguments, **env)


def add_shard(recipe: Path) -> None:
    data = recipe.parent / "data"
    shutil.copy(data / "table.csv", data / "more.csv")


def test_it_trains_once_and_again_for_new_data_or_another_recipe(recipe: Path) -> None:
    first = run(recipe)
    assert (first["outcome"], first["returncode"]) == ("registered", 0), first["stderr"]
    second = run(recipe)
    assert (second["outcome"], second["returncode"], second["failed_step"]) == ("nothing to do", 0, None)
    assert second["reason"] == f"nothing has changed since run {first['run_id']}"
    assert list(cli.statuses(second)) == ["data_validation"]
    report = (recipe.parent / "store" / "objects" / "runs" / second["run_id"] / "report.html").read_text()
    assert "Why nothing was done" in report and second["reason"] in report
    add_shard(recipe)
    assert len(run(recipe)["steps"]) == 6
    assert len(run(recipe, "--set", "seed=2")["steps"]) == 6


def test_a_run_that_failed_is_gone_on_with_and_one_that_a_gate_refused_is_not(recipe: Path) -> None:
    failed = run(recipe, MLFLOW_TRACKING_URI="http://127.0.0.1:9", MODELMILL_REGISTRY_SECONDS="0")
    assert failed["outcome"] == "failed"
    assert run(recipe)["outcome"] == "registered"
    strict = ("--set", "evaluation.gate={accuracy: {min: 1.0}, loss: {max: 0.0}}")
    assert run(recipe, *strict)["outcome"] == "gate failed"
    assert run(recipe, *strict)["outcome"] == "nothing to do"


def test_only_drift_is_a_reason_where_the_recipe_says_so(tmp_path: Path) -> None:
    drift = {"data__retrain": "drift", "data__drift": {"minimum": 10}, "evaluation__comparison": "none"}
    recipe = table_recipe(tmp_path, write_table(tmp_path / "data"), **drift)
    assert run(recipe)["outcome"] == "registered"  # without a registered model there is nothing to drift from
    add_shard(recipe)
    same = run(recipe)
    assert same["outcome"] == "nothing to do" and "has not drifted" in same["reason"]
    assert list(cli.statuses(same)) == ["data_validation"]
    lines = (recipe.parent / "data" / "table.csv").read_text().splitlines()
    moved = [f"{n},{9 + n % 7},{8 + n % 5},{'big' if n % 2 else 'small'}" for n in range(2000)]
    (recipe.parent / "data" / "moved.csv").write_text("\n".join([lines[0], *moved]) + "\n")
    assert "fine_tuning" in cli.statuses(run(recipe))


def test_data_that_is_gone_is_said_on_one_line(recipe: Path) -> None:
    run(recipe)
    shutil.rmtree(recipe.parent / "data")
    done = cli.modelmill("run", recipe, "--store", f"file://{recipe.parent}/store", "--if-changed")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "no such file or folder" in done.stderr


def test_on_a_cluster_the_training_is_below_both_conditions(recipe: Path, tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    assert cli.modelmill("compile", recipe, "-o", file, "--if-changed").returncode == 0
    spec = next(iter(yaml.safe_load_all(file.read_text())))
    conditions = {
        task["taskInfo"]["name"]: task["triggerPolicy"]["condition"]
        for component in spec["components"].values()
        for task in component.get("dag", {}).get("tasks", {}).values()
        if "condition" in task.get("triggerPolicy", {})
    }
    assert set(conditions) == {"new-data", "reason-to-train", "gate-passed"}
    assert all(condition.endswith("== true") for condition in conditions.values())
