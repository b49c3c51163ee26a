"""The reference of drift: the validation of the data that the registered version of a model was made from."""

import json
from typing import NamedTuple

from modelmill.core import digest
from modelmill.store import KeyNotFound, Store

# The file of a validation's manifest that holds the distributions of the columns.
PROFILE = "profile.json"


class Reference(NamedTuple):
    """A registered version and its data.

    Attributes:
        version: Version of the registered model.
        validation: Digest of the validation manifest of its data.
    """

    version: str
    validation: str


def keep(store: Store, model: str, reference: Reference) -> None:
    """Make the version that was just registered the one that new data is compared with."""
    store.put(_key(model), digest.canonical_json(reference._asdict()))


def find(store: Store, model: str) -> Reference | None:
    """Return a model's reference, None before a version of it is registered from this store."""
    try:
        return Reference(**json.loads(store.get(_key(model))))
    except KeyNotFound:
        return None


def _key(model: str) -> str:
    return f"references/{model}.json"
