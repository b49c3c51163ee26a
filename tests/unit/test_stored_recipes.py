"""Recipes in a store: a key that says which recipe it is, bytes that are checked, and no text that KFP sees."""

import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from modelmill import recipe as recipes
from modelmill.core import digest
from modelmill.core.errors import CorruptError, UserError
from modelmill.pipelines import dag
from modelmill.recipe import Recipe, stored
from modelmill.store import Store
from tests.recipes import table_recipe


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return recipes.load(table_recipe(tmp_path, tmp_path / "data"))


def test_what_is_written_is_read_and_the_key_is_its_digest(store: Store, recipe: Recipe) -> None:
    key = stored.write(store, recipe)
    assert key == stored.write(store, recipe) == stored.key_of(recipe)
    assert list(store.list("recipes/")) == [key] == [f"recipes/{digest.of_bytes(store.get(key))}.json"]
    assert recipes.from_json(stored.read(store, key)) == recipe
    another = recipe.model_copy(update={"seed": 2})
    assert stored.write(store, another) != key


def test_a_recipe_that_is_not_there_or_not_as_it_was_written_is_one_line(store: Store, recipe: Recipe) -> None:
    key = stored.key_of(recipe)
    with pytest.raises(UserError, match=rf"^file://\S+/{key}: the recipe is not there; modelmill run, submit") as lost:
        stored.read(store, key)
    stored.write(store, recipe)
    store.put(key, store.get(key).replace(b'"seed":1', b'"seed":2'))
    with pytest.raises(CorruptError, match=rf"{key}: does not have the bytes it is named after; modelmill") as damaged:
        stored.read(store, key)
    assert "\n" not in str(lost.value) + str(damaged.value)
    stored.write(store, recipe)
    assert recipes.from_json(stored.read(store, key)) == recipe, "writing again mends it"


@pytest.mark.parametrize("key", ["", "null", "[1]", "tabular-mlp", "recipes/abc.json", f"../recipes/{'a' * 64}.json"])
def test_what_is_no_key_is_refused(store: Store, key: str) -> None:
    with pytest.raises(UserError, match=r"is no key of a recipe, recipes/SHA256\.json; modelmill run, submit"):
        stored.read(store, key)


def test_older_pipelines_pass_the_recipe_itself(store: Store, recipe: Recipe) -> None:
    assert recipes.from_json(stored.read(store, recipes.to_json(recipe))) == recipe


@settings(deadline=None)
@given(st.text(st.sampled_from("{$}.'\"\\x"), max_size=12))
def test_no_text_of_a_recipe_reaches_kfp(text: str) -> None:
    """KFP and Argo replace what stands in two braces, and repeat what they are given: they are given a key."""
    with tempfile.TemporaryDirectory() as folder:
        known = recipes.load(table_recipe(Path(folder), Path(folder) / "data"))
    expectation = {"type": "x", "kwargs": {"column": text, "{{$.inputs.parameters['store']}}": 1}}
    known.data.suite = {"expectations": [expectation]}
    assert recipes.from_json(recipes.to_json(known)) == known
    assert "{" not in stored.key_of(known)


def test_a_pipeline_is_the_same_whatever_the_texts_of_its_recipe(recipe: Recipe, tmp_path: Path) -> None:
    suite = {"name": "{{$.outputs}}", "expectations": [{"type": "x", "kwargs": {"column": "{{workflow.uid}}"}}]}
    hostile = recipe.model_copy(update={"data": recipe.data.model_copy(update={"suite": suite})})
    files = [tmp_path / "plain.yaml", tmp_path / "hostile.yaml"]
    for one, file in zip((recipe, hostile), files, strict=True):
        dag.compile_to(one, "s3://models/store", str(file))
    assert files[0].read_bytes() == files[1].read_bytes()
    dag.compile_to(hostile, "s3://models/store", str(files[1]), default=stored.key_of(hostile))
    parameters = next(yaml.safe_load_all(files[1].read_text()))["root"]["inputDefinitions"]["parameters"]
    assert parameters["recipe"]["defaultValue"] == stored.key_of(hostile)
    assert "workflow.uid" not in files[1].read_text()
