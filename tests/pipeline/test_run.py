"""The whole DAG, from the command line."""

import json
import shutil
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from modelmill.recipe.step_specs import STEPS
from modelmill.runtime import run_records
from modelmill.store import manifest, open_store
from tests import cli
from tests.mlflow_server import MlflowServer
from tests.pipeline.conftest import Finished, kfp_reuses_all
from tests.recipes import write_corpus
from tests.seaweedfs import SeaweedFS

ALL_REUSED = dict.fromkeys(STEPS, "reused")


@pytest.mark.parametrize("which", ["language_run", "table_run"])
def test_a_run_ends_with_a_registered_champion(which: str, request: pytest.FixtureRequest) -> None:
    run: Finished = request.getfixturevalue(which)
    assert cli.statuses(run.summary) == dict.fromkeys(STEPS, "ran")
    name = run.recipe.stem
    assert run.summary["model"] == {"name": name, "version": "1", "alias": "champion"}
    assert run.summary["exit_code"] == 0
    assert Path(run.summary["report"].removeprefix("file://")).read_text().lower().startswith("<!doctype html>")
    version = cli.registry(run.store).get_model_version_by_alias(name, "champion")
    assert version.tags["modelmill.verified"] == "true"
    assert version.tags["modelmill.model"] == run.summary["steps"][3]["output_digest"]


@pytest.mark.parametrize(
    ("which", "question", "column"),
    [
        ("language_run", {"prompt": ["def area(self):\n    return self.width\n"]}, "completion"),
        ("table_run", {"width": [1.1, 3.5], "height": [2.2, 1.0]}, "label"),
    ],
)
def test_the_registered_model_answers(which: str, question: dict, column: str, request: pytest.FixtureRequest) -> None:
    run: Finished = request.getfixturevalue(which)
    cli.registry(run.store)
    answer = mlflow.pyfunc.load_model(f"models:/{run.recipe.stem}@champion").predict(pd.DataFrame(question))
    assert len(answer) == len(next(iter(question.values())))
    if column == "label":
        assert answer[column].tolist() == ["small", "big"]


def test_training_taught_the_language_model_something(language_run: Finished) -> None:
    metrics = {step["name"]: step["metrics"] for step in language_run.summary["steps"]}
    history = manifest.load(
        open_store(f"file://{language_run.store}"), language_run.summary["steps"][2]["output_digest"]
    ).entry("history.jsonl")
    assert history.rows == 20
    assert metrics["evaluation"]["bits_per_byte"] < 5.0
    assert metrics["evaluation"]["loss_after"] < metrics["evaluation"]["loss_before"]


def test_mlflow_holds_how_busy_the_machine_was_in_training_steps_alone(language_run: Finished) -> None:
    client = cli.registry(language_run.store)
    experiment = client.get_experiment_by_name("tiny-lm")
    found = {run.info.run_name: run.data.metrics for run in client.search_runs([experiment.experiment_id])}
    busy = {name for name, metrics in found.items() if any(key.startswith("system/") for key in metrics)}
    assert busy == {"pretraining", "fine_tuning"}
    assert found["pretraining"]["system/system_memory_usage_megabytes"] > 1
    assert found["pretraining"]["device_seconds"] > 0


def test_a_second_run_reuses_every_step(language_run: Finished) -> None:
    again = cli.run_json(language_run.recipe, language_run.store)
    assert cli.statuses(again) == ALL_REUSED
    assert again["model"] == language_run.summary["model"]
    digests = [[step["output_digest"] for step in summary["steps"]] for summary in (again, language_run.summary)]
    assert digests[0] == digests[1]


@pytest.mark.parametrize("which", ["language_run", "table_run"])
def test_kfps_runner_reuses_what_the_local_one_made(which: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    kfp_reuses_all(request.getfixturevalue(which), tmp_path)


def test_a_changed_setting_runs_what_depends_on_it_and_plan_has_said_so(language_run: Finished, tmp_path: Path) -> None:
    store = language_run.copy(tmp_path)
    change = ("--set", "fine_tuning.learning_rate=0.02")
    planned = cli.modelmill("plan", language_run.recipe, "--store", f"file://{store}", "--json", *change)
    steps = {step["name"]: step for step in json.loads(planned.stdout)["steps"]}
    estimates = {name: step["estimate"] for name, step in steps.items() if step["estimate"]}
    assert list(estimates) == ["fine_tuning"]
    expected = {**ALL_REUSED, **dict.fromkeys(("fine_tuning", "evaluation", "registration"), "will run")}
    assert {name: step["status"] for name, step in steps.items()} == expected
    assert steps["fine_tuning"]["reason"] == "settings changed: fine_tuning.learning_rate (0.01 -> 0.02)"
    assert steps["evaluation"]["reason"] == "after fine_tuning"
    done = cli.run_json(language_run.recipe, store, *change)
    assert cli.statuses(done) == {name: status.replace("will run", "ran") for name, status in expected.items()}
    assert done["model"]["version"] == "2"
    record = run_records.read_run(open_store(f"file://{store}"), done["run_id"])
    assert record is not None and record.model_dump()["estimates"] == estimates
    measured = done["steps"][3]["metrics"]
    assert measured["model_flops"] == pytest.approx(estimates["fine_tuning"]["model_flops"], rel=0.01)
    assert {"tokens_per_second", "mfu", "peak_memory_bytes", "device_seconds", "devices", "device"} <= measured.keys()
    assert '<section id="cost">' in Path(done["report"].removeprefix("file://")).read_text()


def test_plan_writes_nothing(language_run: Finished, tmp_path: Path) -> None:
    planned = cli.modelmill("plan", language_run.recipe, "--store", f"file://{tmp_path}/store", "--json")
    assert json.loads(planned.stdout)["steps"][0]["reason"] == "first run"
    assert not (tmp_path / "store").exists()


def test_new_data_is_noticed(language_run: Finished, tmp_path: Path) -> None:
    store = language_run.copy(tmp_path)
    data = shutil.copytree(language_run.recipe.parent / "data", tmp_path / "data")
    change = ("--set", f"data.path={data}")
    same = cli.modelmill("plan", language_run.recipe, "--store", f"file://{store}", "--json", *change)
    assert {step["status"] for step in json.loads(same.stdout)["steps"]} == {"reused"}, "the same bytes elsewhere"
    write_corpus(data, files=123)
    planned = cli.modelmill("plan", language_run.recipe, "--store", f"file://{store}", "--json", *change)
    steps = json.loads(planned.stdout)["steps"]
    assert [step["status"] for step in steps] == ["will run"] * 6
    assert steps[0]["reason"] == "data changed"


def test_a_lost_blob_is_made_again(table_run: Finished, tmp_path: Path) -> None:
    store = table_run.copy(tmp_path)
    opened = open_store(f"file://{store}")
    corpus = manifest.load(opened, table_run.summary["steps"][1]["output_digest"])
    blob = opened.local_path(f"blobs/{corpus.entries[0].sha256[:2]}/{corpus.entries[0].sha256}")
    assert blob is not None
    blob.unlink()
    again = cli.run_json(table_run.recipe, store)
    assert cli.statuses(again) == {**ALL_REUSED, "preprocessing": "ran"}
    assert again["steps"][1]["output_digest"] == table_run.summary["steps"][1]["output_digest"]


def test_stages_can_be_left_out_and_the_step_says_so(language_run: Finished, tmp_path: Path) -> None:
    store = language_run.copy(tmp_path)
    done = cli.run_json(language_run.recipe, store, "--set", "fine_tuning=none")
    assert done["returncode"] == 0
    tuning = next(step for step in done["steps"] if step["name"] == "fine_tuning")
    assert (tuning["status"], tuning["headline"]) == ("ran", "none, as the recipe says")
    assert cli.weights_of(store, done) == cli.weights_of(store, language_run.summary, "pretraining")
    scratch = cli.run_json(language_run.recipe, store, "--set", "pretraining=none", "--set", "fine_tuning.method=full")
    assert scratch["returncode"] == 0
    assert "loss_before" not in scratch["steps"][4]["metrics"]


def test_training_starts_from_a_registered_version_or_a_folder(language_run: Finished, tmp_path: Path) -> None:
    store = language_run.copy(tmp_path)
    init = "models:/tiny-lm/1"
    same_tokenizer = ("--set", f"preprocessing.tokenizer.from={init}")
    done = cli.run_json(
        language_run.recipe, store, *same_tokenizer, "--set", f"pretraining.init={init}", "--set", "pretraining.steps=0"
    )
    assert done["returncode"] == 0, done["stderr"]
    assert cli.weights_of(store, done, "pretraining") == cli.weights_of(store, language_run.summary)
    made = next(step["output_digest"] for step in done["steps"] if step["name"] == "fine_tuning")
    assert manifest.load(open_store(f"file://{store}"), made).info["base"]["source"] == init


def test_a_model_that_misses_its_gate_is_not_registered(table_run: Finished, tmp_path: Path) -> None:
    store = table_run.copy(tmp_path)
    done = cli.run_json(table_run.recipe, store, "--set", "evaluation.gate.accuracy.min=1.1")
    assert done["returncode"] == 3
    assert done["outcome"] == "gate failed"
    assert "registration" not in cli.statuses(done)
    assert "accuracy" in done["stderr"] and "1.1" in done["stderr"]
    assert done["model"] is None
    assert [v.version for v in cli.registry(store).search_model_versions("name='tiny-table'")] in ([1], ["1"])


def test_data_that_breaks_its_contract_stops_the_run_before_training(table_run: Finished, tmp_path: Path) -> None:
    suite = {
        "name": "strict",
        "expectations": [
            {"type": "expect_column_values_to_be_between", "kwargs": {"column": "width", "max_value": 3.0}}
        ],
    }
    (tmp_path / "strict.json").write_text(json.dumps(suite))
    done = cli.run_json(table_run.recipe, tmp_path / "store", "--set", f"data.suite={tmp_path}/strict.json")
    assert done["returncode"] == 3
    assert cli.statuses(done) == {"data_validation": "failed"}
    assert "expect_column_values_to_be_between" in done["reason"]
    assert "table.csv" in done["reason"], "sample rows name their shard"
    assert done["resume"].startswith("modelmill run")


def test_a_run_on_s3_with_a_server_for_a_registry_gives_the_same_weights(
    table_run: Finished, seaweedfs: SeaweedFS, mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    seaweedfs.create_bucket("pipeline")
    arguments = ("run", table_run.recipe, "--store", "s3://pipeline/team/store", "--json")
    environment = {**seaweedfs.env, "MLFLOW_TRACKING_URI": mlflow_server.uri}
    done = cli.modelmill(*arguments, cwd=tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert cli.statuses(summary) == dict.fromkeys(STEPS, "ran")
    made = [[step["output_digest"] for step in s["steps"][:5]] for s in (summary, table_run.summary)]
    assert made[0] == made[1]
    again = json.loads(cli.modelmill(*arguments, cwd=tmp_path, **environment).stdout)
    assert cli.statuses(again) == ALL_REUSED
    assert seaweedfs.secret_key not in done.stdout + done.stderr


def test_the_outcome_of_a_run_is_kept(table_run: Finished) -> None:
    outcome = run_records.read_outcome(open_store(f"file://{table_run.store}"), table_run.summary["run_id"])
    assert outcome is not None
    assert (outcome["outcome"], outcome["exit_code"], outcome["failed_step"]) == ("registered", 0, None)
