"""What tracking says of the registry, and what it logs, on the default SQLite database and without any server."""

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from modelmill import recipe as recipes
from modelmill.core.errors import ModelmillError, UserError
from modelmill.recipe import Recipe
from modelmill.runtime import tracking
from modelmill.store import Store, open_store
from tests.mlflow_server import free_port
from tests.recipes import table_recipe

ROOT = Path(__file__).parents[2]


def without_mlflows_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("MLFLOW_"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_mlflows_variables(monkeypatch)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store whose database exists already: to make one takes seconds."""
    store = open_store(f"file://{tmp_path_factory.mktemp('used')}/store")
    with pytest.MonkeyPatch.context() as monkeypatch:
        without_mlflows_variables(monkeypatch)  # tests of other files leave the registry that they used
        tracking.describe(store)
    return store


def test_an_empty_registry_is_kept_for_later_stores_and_made_anew_where_it_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    made: list[str] = []
    client = mlflow.MlflowClient
    monkeypatch.setattr(mlflow, "MlflowClient", lambda uri, *more: made.append(uri) or client(uri, *more))
    templates = tmp_path / "cache" / "modelmill"

    def describe(name: str) -> int:
        """The number of databases that mlflow makes for a new store."""
        before = sum(uri.endswith(".tmp") for uri in made)
        assert tracking.describe(open_store(f"file://{tmp_path / name}")).endswith("mlflow.db")
        return sum(uri.endswith(".tmp") for uri in made) - before

    assert describe("first") == 1
    assert describe("second") == 0
    (template,) = templates.iterdir()
    template.write_bytes(b"no database")
    assert describe("third") == 1
    assert describe("fourth") == 0


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return recipes.load(table_recipe(tmp_path / "recipe", tmp_path / "data"))


class Bucket:
    uri = "s3://bucket/team"


BUCKET: Any = Bucket()


def runs_of(store: Store, run_id: str) -> dict[str, Any]:
    """The MLflow runs of one pipeline run, by step."""
    with tracking.client(store) as client:
        experiment = client.get_experiment_by_name("tiny-table")
        found = client.search_runs([experiment.experiment_id], f"tags.`modelmill.run_id` = '{run_id}'")
    by_step = {run.data.tags["modelmill.step"]: run for run in found}
    assert len(by_step) == len(found)
    return by_step


def test_the_registry_is_the_named_server_or_lies_in_the_folder_store(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert tracking.tracking_uri(store) == f"sqlite:///{tmp_path}/store/mlflow.db"
    with pytest.raises(UserError, match="set MLFLOW_TRACKING_URI"):
        tracking.tracking_uri(BUCKET)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert tracking.tracking_uri(store) == tracking.tracking_uri(BUCKET) == "http://mlflow:5000"


def test_the_identity_follows_the_registry_and_not_its_credentials(
    store: Store, used: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tracking.identity(store) == tracking.identity(used) == "local"
    identities = []
    for uri in ("http://a:1", "http://u:p@a:1/", "http://u:q@r@a:1", "http://b:1"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        identities.append(tracking.identity(BUCKET))
    assert identities[0] == identities[1] == identities[2] != identities[3]


def test_using_the_default_registry_leaves_it_the_default(store: Store, recipe: Recipe) -> None:
    # A new store: mlflow sets the variable only when the registry is another one than before.
    tracking.log_step(store, "r", recipe, "pretraining", tracking.Logged({}))
    assert "MLFLOW_TRACKING_URI" not in os.environ
    assert tracking.identity(store) == "local"


def test_a_store_without_a_database_has_no_version_and_costs_no_import(tmp_path: Path) -> None:
    code = (
        "import sys; from modelmill.runtime import tracking; from modelmill.store import open_store\n"
        "store = open_store(sys.argv[1])\n"
        "print(tracking.has_version(store, 'm', '1'), tracking.aliases(store, 'm', '1'), 'mlflow' in sys.modules)"
    )
    output = subprocess.run(
        [sys.executable, "-c", code, f"file://{tmp_path}/none"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert output.stdout.strip() == "False [] False"
    assert not (tmp_path / "none" / "mlflow.db").exists()


def test_a_version_that_does_not_exist_is_a_users_error_to_download(used: Store, tmp_path: Path) -> None:
    assert not tracking.has_version(used, "nobody", "1")
    for uri in ("models:/nobody/3", "models:/nobody@champion", "models:/nobody"):
        with pytest.raises(UserError, match=r"no such model version in sqlite:///"):
            tracking.download_version(used, uri, tmp_path / "target")


def test_nothing_that_asks_the_registry_starts_mlflows_telemetry(used: Store, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from modelmill.runtime import tracking\n"
        "from modelmill.core.errors import UserError; from modelmill.store import open_store\n"
        "store = open_store(sys.argv[1])\n"
        "try: tracking.download_version(store, 'models:/nobody/1', Path(sys.argv[2]))\n"
        "except UserError: pass\n"
        "from mlflow.telemetry.client import get_telemetry_client\n"
        "print(get_telemetry_client())"
    )
    # In CI mlflow leaves it off by itself.
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME"}}
    output = subprocess.run(
        [sys.executable, "-c", code, used.uri, tmp_path / "target"],
        capture_output=True,
        text=True,
        check=True,
        env={**kept, "PYTHONPATH": str(ROOT)},
    )
    assert output.stdout.strip() == "None"


def test_steps_are_nested_runs_with_parameters_metrics_and_curves(used: Store, recipe: Recipe) -> None:
    history = [{"step": n, "loss": 1 / (n + 1), "learning_rate": 0.1} for n in range(1200)]
    history[3]["validation_loss"] = 0.5
    settings = {"seed": 1, "model": {"hidden": [4], "deep": {"x": "y" * 9000}}, "data.suite": {"expectations": []}}
    metrics = {"loss": 0.25, "steps": 7, "ok": True, "text": "v", "nothing": None, "bad": float("nan")}
    samples = [{"time": 1e9 + 10 * n, "cpu_utilization_percentage": 40.0 + n} for n in range(3)]
    tracking.log_step(used, "r-nested", recipe, "pretraining", tracking.Logged(settings, metrics, history, samples))
    tracking.log_step(used, "r-nested", recipe, "evaluation", tracking.Logged({"seed": 1}))
    runs = runs_of(used, "r-nested")
    assert set(runs) == {"pipeline", "pretraining", "evaluation"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    trained = runs["pretraining"]
    assert trained.data.tags["mlflow.parentRunId"] == runs["pipeline"].info.run_id
    assert trained.data.params == {"seed": "1", "model.hidden": "[4]", "model.deep.x": "y" * 500}
    numbers = {name: value for name, value in trained.data.metrics.items() if not name.endswith("_curve")}
    assert numbers == {"loss": 0.25, "steps": 7, "system/cpu_utilization_percentage": 42.0}
    with tracking.client(used) as client:
        curve = client.get_metric_history(trained.info.run_id, "loss_curve")
        validation = client.get_metric_history(trained.info.run_id, "validation_loss_curve")
        busy = client.get_metric_history(trained.info.run_id, "system/cpu_utilization_percentage")
        location = client.get_experiment_by_name("tiny-table").artifact_location
    assert {m.step: m.value for m in curve} == {row["step"]: row["loss"] for row in history}
    assert [(m.step, m.timestamp) for m in busy] == [(n, int(1e12) + 10_000 * n) for n in range(3)]
    assert [(m.step, m.value) for m in validation] == [(3, 0.5)]
    assert location.endswith("/store/mlartifacts")


def test_a_step_that_is_retried_logs_into_the_same_run(used: Store, recipe: Recipe) -> None:
    for loss in (2.0, 1.0):
        tracking.log_step(used, "r-again", recipe, "pretraining", tracking.Logged({"seed": 1}, {"loss": loss}))
    assert runs_of(used, "r-again")["pretraining"].data.metrics["loss"] == 1.0


def test_an_injected_run_takes_what_the_step_logs_and_is_left_open(
    used: Store, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tracking.client(used) as client:
        injected = client.create_run("0").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", injected)
    tracking.log_step(used, "r-injected", recipe, "pretraining", tracking.Logged({"seed": 1}, {"loss": 2.0}))
    with tracking.client(used) as client:
        run = client.get_run(injected)
    assert (run.info.status, run.data.metrics, run.data.params) == ("RUNNING", {"loss": 2.0}, {"seed": "1"})


@pytest.mark.parametrize("broken", ["server", "database", "store"])
def test_logging_that_fails_is_one_warning_without_credentials(
    store: Store,
    recipe: Recipe,
    broken: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    target = store
    if broken == "server":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://someone:hunter2@127.0.0.1:{free_port()}")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    elif broken == "database":
        (tmp_path / "store").mkdir()
        (tmp_path / "store" / "mlflow.db").write_text("this is no database, whatever its name says" * 100)
        monkeypatch.setenv("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
    else:
        target = BUCKET
    with caplog.at_level(logging.INFO):
        tracking.log_step(target, "r", recipe, "pretraining", tracking.Logged({"seed": 1}, {"loss": 1.0}))
    ours = [record for record in caplog.records if record.name == "modelmill"]
    assert [record.levelname for record in ours] == ["WARNING"]
    captured = capfd.readouterr()
    everything = captured.out + captured.err + caplog.text
    assert "hunter2" not in everything and "someone" not in everything
    assert "\n" not in ours[0].getMessage()


def test_a_registry_that_does_not_answer_is_not_an_absent_version(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://someone:hunter2@127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ModelmillError, match=rf"^MLflow at http://127.0.0.1:{port}: does not answer") as refused:
        tracking.has_version(store, "m", "1")
    assert refused.value.exit_code == 1
    assert "hunter2" not in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://u:p@host:1/x", "http://host:1/x"),
        ("http://u:p@ss@host", "http://host"),
        ("postgresql://host/db?user=u&password=p", "postgresql://host/db"),
        ("at http://u:p@a/x and mysql+py://v@b/y", "at http://a/x and mysql+py://b/y"),
        ("http://host/a@b", "http://host/a@b"),
        ("sqlite:////tmp/a b/mlflow.db", "sqlite:////tmp/a b/mlflow.db"),
    ],
)
def test_credentials_are_cut_out_of_uris(text: str, shown: str) -> None:
    assert tracking.redact(text) == shown
