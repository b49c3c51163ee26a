"""Files that preprocessing fits to the data (a tokenizer, a scaler), kept where the recipe says `fit: once`.

The first fit under a recipe's name and settings is kept, and later data is prepared with it. So new data does not
change how old data was encoded, and costs its own shards only.
"""

import json
from pathlib import Path

from modelmill.core import digest
from modelmill.recipe import Recipe
from modelmill.store import KeyNotFound, Store, manifest
from modelmill.store.manifest import Manifest


def find(store: Store, recipe: Recipe) -> str | None:
    """Return the digest of the manifest of the first fit; None before it, or where the recipe fits every time."""
    if recipe.preprocessing.fit == "always":
        return None
    try:
        return str(json.loads(store.get(_key(recipe)))["manifest"])
    except KeyNotFound:
        return None


def keep(store: Store, recipe: Recipe, files: list[Path]) -> str:
    """Keep fitted files unless another fit is kept already, and return the digest of the manifest that is kept.

    Args:
        store: Store that keeps the files.
        recipe: The recipe.
        files: The fitted files.
    """
    entries = [manifest.add_file(store, file, file.name) for file in files]
    mine = manifest.save(store, Manifest(kind="fitted", entries=entries))
    store.put_if_absent(_key(recipe), digest.canonical_json({"manifest": mine}))
    return find(store, recipe) or mine


def fetch(store: Store, sha256: str, folder: Path) -> Path:
    """Write kept files into a folder, and return the folder.

    Args:
        store: Store that keeps the files.
        sha256: Digest of their manifest.
        folder: Folder for the files, which is made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for entry in manifest.load(store, sha256).entries:
        (folder / entry.path).write_bytes(manifest.read_entry(store, entry))
    return folder


def _key(recipe: Recipe) -> str:
    settings = recipe.preprocessing.model_dump(mode="json", by_alias=True)
    return f"fitted/{recipe.name}/{digest.of_json({'task': recipe.task, **settings})}.json"
