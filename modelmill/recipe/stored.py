"""Recipes in a store: what a pipeline and its steps are given is a recipe's key there, never the recipe itself.

The key is `recipes/SHA256.json`, where SHA256 is the digest of the bytes under it: the resolved recipe as canonical
JSON. So the key says which recipe it is, and who reads it can tell that the bytes are those that were written.
"""

import re

from modelmill.core import digest
from modelmill.core.errors import CorruptError, UserError
from modelmill.recipe.load import shortened, to_json
from modelmill.recipe.sections import Recipe
from modelmill.store import KeyNotFound, Store

_KEY = re.compile(r"recipes/([0-9a-f]{64})\.json")
_WRITE_AGAIN = "modelmill run, submit and compile write it, and schedule apply for its schedules"


def key_of(recipe: Recipe) -> str:
    """Return the key of a resolved recipe, whatever the store."""
    return key_of_json(to_json(recipe))


def key_of_json(resolved: str) -> str:
    """Return the key of a recipe that is resolved already, as `to_json` has it."""
    return f"recipes/{digest.of_bytes(resolved.encode())}.json"


def write(store: Store, recipe: Recipe) -> str:
    """Write a resolved recipe, also over damaged bytes, and return its key."""
    return write_json(store, to_json(recipe))


def write_json(store: Store, resolved: str) -> str:
    """Write a recipe that is resolved already, and return its key.

    Args:
        store: The store of the run.
        resolved: What `to_json` has made of the recipe.
    """
    key = key_of_json(resolved)
    store.put(key, resolved.encode())
    return key


def read(store: Store, key: str) -> str:
    """Return the recipe under a key as JSON, for `recipe.from_json`.

    Args:
        store: The store of the run.
        key: The recipe's key; also the JSON itself, which older pipelines pass as they are.

    Raises:
        UserError: It is no such key, or the store has nothing under it.
        CorruptError: The bytes are not those that the key names.
    """
    if key.startswith("{"):
        return key
    named = _KEY.fullmatch(key)
    if named is None:
        raise UserError(f"recipe {shortened(key)}: is no key of a recipe, recipes/SHA256.json; {_WRITE_AGAIN}")
    try:
        data = store.get(key)
    except KeyNotFound:
        raise UserError(f"{store.uri}/{key}: the recipe is not there; {_WRITE_AGAIN}") from None
    if digest.of_bytes(data) != named[1]:
        raise CorruptError(f"{store.uri}/{key}: does not have the bytes it is named after; {_WRITE_AGAIN}")
    return data.decode()
