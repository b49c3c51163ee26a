"""A recipe, and stores of both kinds."""

from pathlib import Path

import pytest

from modelmill import recipe as recipes
from modelmill.recipe import Recipe
from tests.recipes import table_recipe, write_table
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
def s3_uri(bucket: str) -> str:
    return f"{bucket}/mill"


@pytest.fixture(params=["file", "s3"])
def store_uri(request: pytest.FixtureRequest) -> str:
    uri: str = request.getfixturevalue("folder_uri" if request.param == "file" else "s3_uri")
    return uri
