"""What the key of a step is made from."""

from pathlib import Path

from modelmill.recipe import Recipe
from modelmill.runtime import external_inputs, memo
from modelmill.store import Store
from modelmill.store.manifest import Manifest


def read_inputs(
    name: str, recipe: Recipe, store: Store, inputs: dict[str, str]
) -> tuple[dict[str, Manifest], memo.KeyDocument]:
    """Return a step's input manifests, and what its key is made from.

    Args:
        name: The step's name.
        recipe: The whole recipe.
        store: The run's store.
        inputs: Files that hold the manifests, by the names in the step's specification (`preprocessing.corpus`).
    """
    manifests = {key: Manifest.parse(Path(path).read_bytes()) for key, path in inputs.items()}
    return manifests, key_document(name, recipe, store, manifests)


def key_document(name: str, recipe: Recipe, store: Store, inputs: dict[str, Manifest]) -> memo.KeyDocument:
    """Return what a step's key is made from, inputs from outside the DAG included.

    Args:
        name: The step's name.
        recipe: The whole recipe.
        store: The run's store.
        inputs: Manifests by the names in the step's specification (`preprocessing.corpus`).
    """
    digests = {key: m.digest for key, m in inputs.items()} | external_inputs.digests(name, recipe, store)
    return memo.key_document(name, recipe, digests)
