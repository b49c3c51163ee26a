"""Runs that several tests look at, made once; and a KFP server, and commands that are called in this process."""

import functools
import inspect
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from modelmill.recipe.step_specs import STEPS
from modelmill.runtime import run_records
from modelmill.store import manifest, open_store
from tests import cli, kfp_cluster
from tests.kfp_cluster import Done
from tests.kfp_server import KfpServer, serving_kfp
from tests.recipes import language_recipe, table_recipe, write_corpus, write_table


@dataclass
class Finished:
    """A run that has ended: its recipe, its store, and what `run --json` printed."""

    recipe: Path
    store: Path
    summary: dict[str, Any]

    def evaluation(self, name: str) -> Any:
        """A JSON file of what the evaluation made: `metrics.json`, `gate.json`, `samples.json` ..."""
        opened = open_store(f"file://{self.store}")
        made = next(step["output_digest"] for step in self.summary["steps"] if step["name"] == "evaluation")
        return json.loads(manifest.read_entry(opened, manifest.load(opened, made).entry(name)))

    @property
    def page(self) -> str:
        """The report's HTML."""
        return Path(self.summary["report"].removeprefix("file://")).read_text("utf-8")

    def predict(self, *rows: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        """Ask the registered model, which has the recipe's name."""
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        return cli.modelmill("predict", self.recipe.stem, "-", "--store", f"file://{self.store}", stdin=lines)

    def copy(self, folder: Path) -> Path:
        """The store again, for a test that goes on from it."""
        return Path(shutil.copytree(self.store, folder / "store"))


def finish(recipe: Path, **env: str) -> Finished:
    """Run a recipe, with a new store beside it, to a registered model."""
    store = recipe.parent / "store"
    summary = cli.run_json(recipe, store, **env)
    assert summary["returncode"] == 0, summary["stderr"]
    return Finished(recipe, store, summary)


def kfp_reuses_all(run: Finished, folder: Path, **env: str) -> None:
    """Assert that each step of the DAG, run by KFP, has the key and the outputs that the local runner gives it.

    In a copy of the run's store, where both find every step. The evaluation has another key than in the run itself:
    there is a champion now.
    """
    store = run.copy(folder)
    opened = open_store(f"file://{store}")
    records = []
    for runner in ("local", "subprocess"):
        again = cli.run_json(run.recipe, store, "--runner", runner, **env)
        assert again["returncode"] == 0, again["stderr"]
        assert cli.statuses(again) == dict.fromkeys(STEPS, "reused")
        steps = [run_records.read_step(opened, again["run_id"], step) for step in STEPS]
        records.append([(step.name, step.key, step.outputs) for step in steps if step is not None])
    assert records[0] == records[1]
    made = [run_records.read_step(opened, run.summary["run_id"], step) for step in STEPS]
    assert [step.outputs for step in made if step is not None] == [outputs for *_, outputs in records[1]]


def _finish(
    factory: pytest.TempPathFactory, name: str, write: Callable[[Path], Path], make: Callable[[Path, Path], Path]
) -> Finished:
    """A run of a recipe, made once by whichever worker needs it first; each worker has the store to itself."""
    parallel = "PYTEST_XDIST_WORKER" in os.environ
    shared = (factory.getbasetemp().parent if parallel else factory.getbasetemp()) / f"{name}-run"
    kept = shared / "summary.json"
    with FileLock(f"{shared}.lock"):
        if not kept.exists():
            shared.mkdir()
            made = finish(make(shared, write(shared / "data")))
            kept.write_text(json.dumps({"recipe": str(made.recipe), **made.summary}))
    summary = json.loads(kept.read_text())
    recipe = Path(summary.pop("recipe"))
    return Finished(recipe, Path(shutil.copytree(shared / "store", factory.mktemp(name) / "store")), summary)


@pytest.fixture(scope="session")
def language_run(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return _finish(tmp_path_factory, "language", write_corpus, language_recipe)


@pytest.fixture(scope="session")
def table_run(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return _finish(tmp_path_factory, "table", write_table, table_recipe)


@pytest.fixture(autouse=True, scope="session")
def _stacks_without_source_lines() -> None:
    """Spare kfp, which asks for the whole stack to name a caller, a search among thousands of modules."""
    inspect.stack = functools.partial(inspect.stack, 0)


@pytest.fixture
def kfp() -> Iterator[KfpServer]:
    with serving_kfp() as server:
        yield server


@pytest.fixture
def reachable(environment: None, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store of cluster files can be reached from here, in the environment that the test's file has made."""
    monkeypatch.setattr(kfp_cluster, "STORE", f"{bucket}/mill")


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    return kfp_cluster.caller(monkeypatch, capsys)
