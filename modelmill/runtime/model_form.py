"""The form of a model's manifest: whole weights, or adapters beside the files of their base."""

from typing import Any

from modelmill.core import digest
from modelmill.store.manifest import Entry, Manifest

ADAPTER = "adapter"
MODEL_FOLDER, ADAPTER_FOLDER = "model", "adapter"
CONFIG = "config.json"
# What joining adapters needs beside what trained the base.
ADAPTER_LIBRARIES = ("peft",)


def is_adapter(model: Manifest) -> bool:
    """Return whether the weights below `model/` are those of the base, and adapters have to be joined with them."""
    return bool(model.info.get("form") == ADAPTER)


def registered(model: Manifest) -> list[Entry]:
    """Return the files that a registered version holds: of an adapter's base, only what describes it."""
    entries = model.under(MODEL_FOLDER)
    if not is_adapter(model):
        return entries
    return [*model.under(ADAPTER_FOLDER), *(entry for entry in entries if not _is_weights(entry))]


def base(model: Manifest) -> dict[str, Any]:
    """Return the base of an adapter: where it comes from, the sha256 of its files, and the digest of them all.

    Args:
        model: The manifest of an adapter.
    """
    names = {entry.path.removeprefix(f"{MODEL_FOLDER}/"): entry for entry in model.under(MODEL_FOLDER)}
    files = {name: entry.sha256 for name, entry in names.items() if name == CONFIG or _is_weights(entry)}
    return {"source": model.info["base"]["source"], "digest": digest.of_json(files), "files": files}


def _is_weights(entry: Entry) -> bool:
    return entry.path.endswith((".safetensors", ".safetensors.index.json"))
