"""The data that a model was made from: what new data is held against."""

import json
from typing import NamedTuple

from modelmill.core import digest
from modelmill.store import KeyNotFound, Store

# The file of a validation's manifest that holds the distributions of the columns.
PROFILE = "profile.json"


class Reference(NamedTuple):
    """version: of the registered model. validation: digest of the manifest of its data's validation."""

    version: str
    validation: str


def keep(store: Store, model: str, reference: Reference) -> None:
    """The version that was registered last is the one that data is held against."""
    store.put(_key(model), digest.canonical_json(reference._asdict()))


def find(store: Store, model: str) -> Reference | None:
    """None before a version of the model is registered from this store."""
    try:
        return Reference(**json.loads(store.get(_key(model))))
    except KeyNotFound:
        return None


def _key(model: str) -> str:
    return f"references/{model}.json"
