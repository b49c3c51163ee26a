"""Steps that are known to be finished have no task: found before a run is submitted, confirmed by one task in it."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelmill import recipe as recipes
from modelmill.core.machine import IMAGE_VARIABLE
from modelmill.pipelines import dag
from modelmill.pipelines.cluster import finished, placement, profiles, settings
from modelmill.pipelines.cluster.settings import Cluster
from modelmill.recipe import Recipe, stored
from modelmill.recipe.step_specs import STEPS
from modelmill.runtime import memo, run_records
from modelmill.store import Store, blobs, manifest, open_store
from tests import cli, kfp_cluster
from tests.kfp_cluster import Done, write_cluster
from tests.kfp_server import KfpServer
from tests.mlflow_server import MlflowServer
from tests.pipeline.conftest import Finished, finish
from tests.recipes import table_recipe, write_table
from tests.zygote import Popen

# Runs what is left of a recipe by KFP's local runner.
PROGRAM = """
import json, sys
from kfp import local
from modelmill import recipe as recipes
from modelmill.pipelines import dag
from modelmill.recipe import stored
from modelmill.store import open_store

folder, key, store, keys, passed = sys.argv[1:]
runner = local.SubprocessRunner(use_venv=False)
local.init(runner=runner, pipeline_root=f"{folder}/out", workspace_root=f"{folder}/space", raise_on_error=False)
done = dag.Finished(json.loads(keys), json.loads(passed))
recipe = recipes.from_json(stored.read(open_store(store), key))
dag.build_rest(recipe, store, done, "rest")(recipe=key, finished=done.keys)
"""
IMAGES = [step.replace("_", "-") for step in STEPS]
DIGESTS = {name: f"sha256:{place:064x}" for place, name in enumerate(IMAGES)}


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory, mlflow_server: MlflowServer) -> Finished:
    """A run whose model is registered on a server."""
    folder = tmp_path_factory.mktemp("registered")
    recipe = table_recipe(folder, write_table(folder / "data"), registration__model="finished-steps")
    return finish(recipe, MLFLOW_TRACKING_URI=mlflow_server.uri)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mlflow_server: MlflowServer) -> None:
    kfp_cluster.isolate(monkeypatch, tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.uri)


def cluster_of(folder: Path, mlflow: str, **images: Any) -> Cluster:
    """A cluster with pinned images, unless `images` says otherwise."""
    file = write_cluster(folder, "http://kfp")
    document = yaml.safe_load(file.read_text()) | {"mlflow": mlflow, "images": images or {"digests": DIGESTS}}
    file.write_text(yaml.safe_dump(document))
    return settings.load(file)


def note_codes(store: Store, recipe: Recipe, cluster: Cluster) -> None:
    """Note what is installed here as the content of the cluster's images, as steps in them do."""
    known = profiles.load(cluster.profiles)
    for step in STEPS:
        task = dag.task_of(step, recipe)
        image = placement.image_of(task, placement.profile_of(task, recipe, known), cluster)
        memo.note_code(store, step, recipe, image)


class Case:
    """A run's recipe, store and keys, and a cluster whose images have run it."""

    def __init__(self, run: Finished, folder: Path, mlflow: str, *overrides: str, **images: Any) -> None:
        self.recipe = recipes.load(run.recipe, list(overrides))
        self.store = open_store(f"file://{run.copy(folder)}")
        self.cluster = cluster_of(folder, mlflow, **images)
        note_codes(self.store, self.recipe, self.cluster)
        kept = {step: run_records.read_step(self.store, run.summary["run_id"], step) for step in STEPS}
        self.keys = {step: record.key for step, record in kept.items() if record is not None}

    def find(self) -> dag.Finished | None:
        return finished.find(self.recipe, self.cluster, self.store)


def test_a_run_with_nothing_new_has_no_step_left(
    registered: Finished, tmp_path: Path, mlflow_server: MlflowServer
) -> None:
    case = Case(registered, tmp_path, mlflow_server.uri)
    assert case.find() == dag.Finished(case.keys, True) and list(case.keys) == list(STEPS)


def test_what_a_change_reaches_is_left(registered: Finished, tmp_path: Path, mlflow_server: MlflowServer) -> None:
    case = Case(registered, tmp_path, mlflow_server.uri, "fine_tuning.steps=7")
    done = case.find()
    assert done is not None and list(done.keys) == ["data_validation", "preprocessing", "pretraining"]
    assert done.passed is None and not done.is_whole_run


def test_registration_is_left_where_its_server_does_not_answer(
    registered: Finished, tmp_path: Path, mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    done = Case(registered, tmp_path, mlflow_server.uri).find()
    assert done is not None and list(done.keys) == list(STEPS)[:-1] and done.passed and not done.is_whole_run


def test_a_step_whose_bytes_are_gone_is_left(registered: Finished, tmp_path: Path, mlflow_server: MlflowServer) -> None:
    case = Case(registered, tmp_path, mlflow_server.uri)
    corpus = memo.with_key(case.store, "preprocessing", case.keys["preprocessing"])
    assert corpus is not None
    case.store.delete(blobs.key_of(manifest.load(case.store, corpus.outputs["corpus"]).entries[0].sha256))
    done = case.find()
    assert done is not None and list(done.keys) == ["data_validation"]


def test_a_tag_is_believed_where_it_is_immutable_and_its_source_is_ours(
    registered: Finished, tmp_path: Path, mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    movable = Case(registered, tmp_path / "movable", mlflow_server.uri, tag="1")
    assert movable.find() is None
    case = Case(registered, tmp_path / "fixed", mlflow_server.uri, tag="1", immutable=True)
    assert case.find() == dag.Finished(case.keys, True)
    changed = {**memo.code_of("evaluation", case.recipe), "source": "another"}
    ours = memo.code_of
    monkeypatch.setattr(
        finished, "code_of", lambda step, recipe: changed if step == "evaluation" else ours(step, recipe)
    )
    done = case.find()
    assert done is not None and list(done.keys)[-1] == "fine_tuning"


def test_an_image_that_has_run_nothing_is_not_known(
    registered: Finished, tmp_path: Path, mlflow_server: MlflowServer
) -> None:
    case = Case(registered, tmp_path, mlflow_server.uri)
    others = {name: f"sha256:{'f' * 64}" for name in DIGESTS}
    assert finished.find(case.recipe, cluster_of(tmp_path, mlflow_server.uri, digests=others), case.store) is None


def test_a_step_in_an_image_notes_what_runs_it(
    registered: Finished, tmp_path: Path, mlflow_server: MlflowServer
) -> None:
    store = registered.copy(tmp_path)
    assert not (store / "images").exists()
    cli.run_json(
        registered.recipe,
        store,
        "--runner",
        "subprocess",
        MLFLOW_TRACKING_URI=mlflow_server.uri,
        **{IMAGE_VARIABLE: "mill@sha256:1"},
    )
    recipe = recipes.load(registered.recipe)
    for step in STEPS:
        assert memo.code_in(open_store(f"file://{store}"), step, recipe, "mill@sha256:1") == memo.code_of(step, recipe)


def test_a_model_that_its_gate_refused_is_not_evaluated_again(tmp_path: Path, mlflow_server: MlflowServer) -> None:
    recipe = table_recipe(
        tmp_path, write_table(tmp_path / "data"), evaluation__gate={"accuracy": {"min": 1.0}}, fine_tuning__steps=1
    )
    ended = cli.run_json(recipe, tmp_path / "store", MLFLOW_TRACKING_URI=mlflow_server.uri)
    assert ended["returncode"] == 3
    case = Case(Finished(recipe, tmp_path / "store", ended), tmp_path / "copy", mlflow_server.uri)
    done = case.find()
    assert done is not None and done == dag.Finished(case.keys, False) and done.is_whole_run
    again = by_kfp(case, done, tmp_path)
    assert (again["outcome"], again["exit_code"]) == ("gate failed", 3)


def by_kfp(case: Case, done: dag.Finished, folder: Path) -> dict[str, Any]:
    """Run what is left by KFP's local runner; return the outcome, with the steps' statuses."""
    passed = json.dumps(done.passed)
    given = [str(folder), stored.write(case.store, case.recipe), case.store.uri, json.dumps(done.keys), passed]
    command = [sys.executable, "-c", PROGRAM, *given]
    environment = cli.environment(MLFLOW_TRACKING_URI=case.cluster.mlflow)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with Popen(command, cwd=cli.ROOT, env=environment, text=True, **pipes) as process:
        ended = process.communicate(timeout=400)[0]
    outcome = run_records.read_outcome(case.store, "rest")
    assert outcome is not None, ended
    records = {step: run_records.read_step(case.store, "rest", step) for step in STEPS}
    return outcome | {"steps": {step: record.status for step, record in records.items() if record is not None}}


def test_kfp_confirms_a_finished_run_and_reports_on_it(
    registered: Finished, tmp_path: Path, mlflow_server: MlflowServer
) -> None:
    case = Case(registered, tmp_path, mlflow_server.uri)
    outcome = by_kfp(case, dag.Finished(case.keys, True), tmp_path)
    assert (outcome["outcome"], outcome["exit_code"]) == ("registered", 0)
    assert outcome["steps"] == dict.fromkeys(STEPS, "reused")
    assert case.store.size(run_records.report_key("rest"))


def test_kfp_runs_what_is_left_on_what_is_finished(
    registered: Finished, tmp_path: Path, mlflow_server: MlflowServer
) -> None:
    case = Case(registered, tmp_path, mlflow_server.uri, "fine_tuning.steps=301")
    done = case.find()
    assert done is not None
    outcome = by_kfp(case, done, tmp_path)
    assert outcome["outcome"] == "registered"
    assert outcome["steps"] == {step: "reused" if step in done.keys else "ran" for step in STEPS}


def test_a_run_whose_finished_steps_are_gone_says_so_and_reports(
    registered: Finished, tmp_path: Path, mlflow_server: MlflowServer
) -> None:
    case = Case(registered, tmp_path, mlflow_server.uri)
    outcome = by_kfp(case, dag.Finished({**case.keys, "evaluation": "0" * 64}, True), tmp_path)
    assert (outcome["outcome"], outcome["failed_step"]) == ("failed", "evaluation")
    assert "is not there any more; modelmill submit" in outcome["reason"]


def test_submit_leaves_finished_steps_out(
    kfp: KfpServer,
    call: Callable[..., Done],
    registered: Finished,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done = dag.Finished(dict.fromkeys(STEPS, "0" * 64), True)
    monkeypatch.setattr(finished, "find", lambda *_: done)
    recipe = kfp_cluster.cluster_recipe(tmp_path)
    said = call("submit", recipe, "--cluster", write_cluster(tmp_path, kfp.url, f"{bucket}/mill"))
    assert said.code == 0, said.err
    assert f"finished before, and left out: {', '.join(STEPS)}" in said.out
    [run] = kfp.runs.values()
    assert run.runtime_config.parameters["finished"] == done.keys
    [file] = kfp.files.values()
    assert set(next(yaml.safe_load_all(file))["root"]["dag"]["tasks"]) == {"finished-run"}
