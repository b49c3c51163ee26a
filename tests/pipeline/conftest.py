"""Runs that several tests look at, made once; and a KFP server, and commands that are called in this process."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

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

    def copy(self, folder: Path) -> Path:
        """The store again, for a test that goes on from it."""
        return Path(shutil.copytree(self.store, folder / "store"))


def _finish(folder: Path, recipe: Path) -> Finished:
    summary = cli.run_json(recipe, folder / "store")
    assert summary["returncode"] == 0, summary["stderr"]
    return Finished(recipe, folder / "store", summary)


@pytest.fixture(scope="session")
def language_run(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("language")
    return _finish(folder, language_recipe(folder, write_corpus(folder / "data")))


@pytest.fixture(scope="session")
def table_run(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("table")
    return _finish(folder, table_recipe(folder, write_table(folder / "data")))


@pytest.fixture
def kfp() -> Iterator[KfpServer]:
    with serving_kfp() as server:
        yield server


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    return kfp_cluster.caller(monkeypatch, capsys)
