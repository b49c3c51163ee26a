"""A recipe, and stores of both kinds."""

import uuid
from pathlib import Path

import pytest

from modelmill import recipe as recipes
from modelmill.recipe import Recipe
from tests.recipes import table_recipe, write_table
from tests.seaweedfs import SeaweedFS
from tests.trigger.replicas import Runs


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return recipes.load(table_recipe(tmp_path / "recipes", write_table(tmp_path / "data")))


@pytest.fixture
def runs() -> Runs:
    return Runs()


@pytest.fixture
def folder_uri(tmp_path: Path) -> str:
    return f"file://{tmp_path / 'store'}"


@pytest.fixture
def s3_uri(seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket of its own, and the environment that reaches it."""
    for name, value in seaweedfs.env.items():
        monkeypatch.setenv(name, value)
    return seaweedfs.create_bucket(f"t-{uuid.uuid4().hex}") + "/mill"


@pytest.fixture(params=["file", "s3"])
def store_uri(request: pytest.FixtureRequest) -> str:
    uri: str = request.getfixturevalue("folder_uri" if request.param == "file" else "s3_uri")
    return uri
