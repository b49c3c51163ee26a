"""What preprocessing fits to the data (a tokenizer, a scaler) where the recipe says `fit: once`.

The first fit under a recipe's name and settings is kept, and later data is prepared with it. So new data does not
change what is known of the old, and costs its own shards only.
"""

import json
from pathlib import Path

from modelmill.core import digest
from modelmill.recipe import Recipe
from modelmill.store import KeyNotFound, Store, manifest
from modelmill.store.manifest import Manifest


def find(store: Store, recipe: Recipe) -> str | None:
    """The digest of the manifest of what was fitted first; None before that, or where the recipe always fits."""
    if recipe.preprocessing.fit == "always":
        return None
    try:
        return str(json.loads(store.get(_key(recipe)))["manifest"])
    except KeyNotFound:
        return None


def keep(store: Store, recipe: Recipe, files: list[Path]) -> str:
    """Keep what was fitted; of several that do so at once the first stays. Returns the digest of the one that stays."""
    entries = [manifest.add_file(store, file, file.name) for file in files]
    mine = manifest.save(store, Manifest(kind="fitted", entries=entries))
    store.put_if_absent(_key(recipe), digest.canonical_json({"manifest": mine}))
    return find(store, recipe) or mine


def fetch(store: Store, sha256: str, folder: Path) -> Path:
    """Write what was kept into a folder; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for entry in manifest.load(store, sha256).entries:
        (folder / entry.path).write_bytes(manifest.read_entry(store, entry))
    return folder


def _key(recipe: Recipe) -> str:
    settings = recipe.preprocessing.model_dump(mode="json", by_alias=True)
    return f"fitted/{recipe.name}/{digest.of_json({'task': recipe.task, **settings})}.json"
