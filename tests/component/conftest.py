"""Fixtures of the component tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.component import registrations
from tests.component.registrations import PASSWORD, USER, Case
from tests.mlflow_server import MlflowServer


@pytest.fixture
def default_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has pointed MLflow anywhere."""
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def language_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with random weights and a tokenizer of bytes, as save_pretrained writes them."""
    folder = tmp_path_factory.mktemp("language")
    registrations.write_language_model(folder)
    return folder


@pytest.fixture(scope="session")
def table_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A perceptron, which needs no torch to be written."""
    folder = tmp_path_factory.mktemp("table")
    registrations.write_table_model(folder, "relu", ["big", "small"])
    return folder


@pytest.fixture
def table(tmp_path: Path, table_folder: Path) -> Case:
    return registrations.make_case(tmp_path, table_folder, "tabular_classification")


@pytest.fixture
def language(tmp_path: Path, language_folder: Path) -> Case:
    return registrations.make_case(tmp_path, language_folder, "language_modeling")


@pytest.fixture
def server(mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """The server with credentials in its URI, which must never be seen again."""
    uri = f"http://{USER}:{PASSWORD}@127.0.0.1:{mlflow_server.port}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return uri


@pytest.fixture(params=["server", "default"])
def registry(request: pytest.FixtureRequest) -> str:
    if request.param == "server":
        request.getfixturevalue("server")
    return str(request.param)


@pytest.fixture
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Nothing of the person who runs the tests, and a current folder in which anything that is left shows."""
    for name in list(os.environ):
        if name.startswith("MLFLOW_"):
            monkeypatch.delenv(name)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    yield
    assert not list(here.iterdir()), "something was written into the current folder"
