"""Where a version came from, and where a shard went."""

import json
import platform
import shutil
from pathlib import Path
from typing import Any

import pytest

from modelmill import recipe as recipes
from modelmill.core import digest
from modelmill.recipe.step_specs import code_of, source_of
from tests import cli
from tests.pipeline.conftest import Finished


def lineage(store: Path, *arguments: str) -> dict[str, Any]:
    done = cli.modelmill("lineage", *arguments, "--store", f"file://{store}", "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def everything(made: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The outputs of a tree by name, as they come up first."""
    found: dict[str, dict[str, Any]] = {}
    for one in made:
        for name, output in {one["output"]: one, **everything(one.get("made_from", []))}.items():
            if "made_from" in output or name not in found:
                found.setdefault(name, output)
    return found


def test_from_a_version_back_to_its_data(table_run: Finished) -> None:
    made = lineage(table_run.store, "tiny-table")
    assert (made["model"], made["version"], made["aliases"]) == ("tiny-table", "1", ["champion"])
    assert made["verified"] is True
    assert made["run"]["run_id"] == table_run.summary["run_id"]
    assert made["settings"]["fine_tuning"]["learning_rate"] == 1.0
    assert made["code"] == source_of("registration", "tabular_classification")
    assert platform.node() in made["where"]["machine"] and made["where"]["image"].startswith("none, Python 3")
    outputs = everything(made["made_from"])
    digests = {step["name"]: step["output_digest"] for step in table_run.summary["steps"]}
    assert outputs["fine_tuning.model"]["digest"] == digests["fine_tuning"]
    assert outputs["preprocessing.corpus"]["digest"] == digests["preprocessing"]
    assert outputs["data_validation.dataset"]["digest"] == digests["data_validation"]
    assert outputs["fine_tuning.model"]["code"] == code_of("fine_tuning", recipes.load(table_run.recipe))
    assert outputs["fine_tuning.model"]["where"]["run_id"] == table_run.summary["run_id"]
    assert outputs["fine_tuning.model"]["device"]
    assert outputs["evaluation.evaluation"]["manifest"]["info"]["passed"] is True
    validation = outputs["data_validation.validation"]
    assert (validation["manifest"]["info"]["expectations"], validation["manifest"]["info"]["passed"]) == (1, 1)
    assert len(validation["suite"]) == 64
    (shard,) = outputs["data_validation.dataset"]["shards"]
    table = table_run.recipe.parent / "data" / "table.csv"
    assert (shard["path"], shard["sha256"], shard["rows"]) == ("table.csv", digest.of_file(table), 200)
    assert "source.data" in outputs
    for name in ("tiny-table@champion", "tiny-table/1", "models:/tiny-table/1"):
        assert lineage(table_run.store, name) == made


def test_the_tree_shows_each_output_once_with_what_made_it(language_run: Finished) -> None:
    done = cli.modelmill("lineage", "tiny-lm", "--store", f"file://{language_run.store}")
    assert done.returncode == 0, done.stderr
    first, *lines = done.stdout.splitlines()
    assert first.startswith("tiny-lm version 1 @champion  verified, registered 20")
    shown = done.stdout
    digests = {step["name"]: step["output_digest"][:12] for step in language_run.summary["steps"]}
    for name in ("fine_tuning.model", "pretraining.model", "preprocessing.corpus", "data_validation.dataset"):
        assert f"{name} {digests[name.split('.')[0]]}" in shown
    assert sum("part-00.jsonl" in line for line in lines) == 1
    assert any("as above" in line for line in lines)
    assert "recipe tiny-lm, seed 1" in shown and "suite open " in shown and "torch 2." in shown
    assert platform.node() in shown
    assert f"run {language_run.summary['run_id']}" in shown


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("nobody", "nobody: no such model in sqlite:///"),
        ("nobody", "there are: tiny-table"),
        ("tiny-table/7", "tiny-table: no version 7; there are 1"),
        ("tiny-table@staging", "tiny-table: no alias staging; there are champion"),
    ],
)
def test_what_does_not_exist_is_one_line_that_says_what_does(table_run: Finished, asked: str, said: str) -> None:
    done = cli.modelmill("lineage", asked, "--store", f"file://{table_run.store}")
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1 and done.stdout == ""


@pytest.mark.parametrize("arguments", [("anything",), ("--shard", "gone.csv")])
def test_a_store_without_models_says_so(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = cli.modelmill("lineage", *arguments, "--store", f"file://{tmp_path}/empty")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "empty").exists()


@pytest.mark.parametrize("arguments", [(), ("tiny-table", "--shard", "table.csv")])
def test_a_model_or_a_shard_is_named(table_run: Finished, arguments: tuple[str, ...]) -> None:
    done = cli.modelmill("lineage", *arguments, "--store", f"file://{table_run.store}")
    assert done.returncode == 2
    assert "name a MODEL, or a shard with --shard" in done.stderr


def test_where_a_shard_went(table_run: Finished, tmp_path: Path) -> None:
    store = table_run.copy(tmp_path)
    table = table_run.recipe.parent / "data" / "table.csv"
    data = Path(shutil.copytree(table.parent, tmp_path / "data"))
    (data / "table.csv").write_text("\n".join(table.read_text().splitlines()[:190]) + "\n")
    second = cli.run_json(table_run.recipe, store, "--set", f"data.path={data}")
    assert second["returncode"] == 0 and second["model"]["version"] == "2", second["stderr"]

    def went(shard: str | Path) -> dict[str, Any]:
        found = lineage(store, "--shard", str(shard))
        return {one["version"]: one["same"] for one in found["versions"]}

    assert went(digest.of_file(table)) == {"1": True}
    assert went(table) == {"1": True, "2": False}
    assert went(data / "table.csv") == {"1": False, "2": True}
    assert went("table.csv") == {"1": None, "2": None}
    shown = cli.modelmill("lineage", "--shard", table, "--store", f"file://{store}")
    one, two = shown.stdout.splitlines()
    assert one.startswith("tiny-table version 1") and one.endswith("table.csv  200 rows")
    assert two.startswith("tiny-table version 2") and "other bytes than the file has now" in two


def test_a_shard_that_went_nowhere(table_run: Finished, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("a\n1\n")
    there = cli.modelmill("lineage", "--shard", tmp_path / "new.csv", "--store", f"file://{table_run.store}")
    assert (there.returncode, there.stderr) == (0, "")
    assert "no registered version was made from it" in there.stdout
    gone = cli.modelmill("lineage", "--shard", "old.csv", "--store", f"file://{table_run.store}")
    assert gone.returncode == 2
    assert "they know: table.csv" in gone.stderr


def test_what_was_deleted_is_said_to_be_gone(table_run: Finished, tmp_path: Path) -> None:
    store = table_run.copy(tmp_path)
    shutil.rmtree(store / "objects" / "runs")
    shutil.rmtree(store / "objects" / "memo")
    sha256 = next(step["output_digest"] for step in table_run.summary["steps"] if step["name"] == "preprocessing")
    (store / "objects" / "blobs" / sha256[:2] / sha256).unlink()
    shown = cli.modelmill("lineage", "tiny-table", "--store", f"file://{store}")
    assert shown.returncode == 0, shown.stderr
    assert f"preprocessing.corpus {sha256[:12]}  no longer in the store" in shown.stdout
    assert "its record is no longer in the store" in shown.stdout
    assert "table.csv" in shown.stdout, "by the tag that names the dataset"
