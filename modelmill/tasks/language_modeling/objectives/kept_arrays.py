"""Arrays that a model gave for a corpus, kept in the store under what made them: another run of the same reads them."""

import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from modelmill.core import digest
from modelmill.core.errors import CorruptError
from modelmill.runtime.step_runtime import Step
from modelmill.store import KeyNotFound, manifest
from modelmill.store.manifest import Entry
from modelmill.training.device.world import World

Arrays = dict[str, np.ndarray]


def find_or_make(
    step: Step, prefix: str, made_with: Mapping[str, Any], make: Callable[[], Arrays], world: World
) -> tuple[Arrays, dict[str, str]]:
    """Return arrays by name, and the digest of each, which a manifest should name to keep them.

    Args:
        step: The running step.
        prefix: First part of the keys in the store; `gc` has to know it.
        made_with: Everything that decides the arrays, as JSON.
        make: Makes the arrays, equal ones in all processes.
        world: The processes, all of which call this; the first one writes.
    """
    key = f"{prefix}/{digest.of_json({**made_with, 'code': step.document['code']})}.json"
    known = _find(step, key)
    if not world.least(known is not None):
        known = make()
        if world.rank == 0:
            entries = [manifest.add_bytes(step.store, _bytes(known[name]), f"{name}.npy") for name in sorted(known)]
            step.store.put(key, digest.canonical_json({"entries": [entry.model_dump() for entry in entries]}))
    assert known is not None
    return known, {name: digest.of_bytes(_bytes(array)) for name, array in sorted(known.items())}


def _find(step: Step, key: str) -> Arrays | None:
    try:
        entries = [Entry.model_validate(entry) for entry in json.loads(step.store.get(key))["entries"]]
        read = {entry.path.removesuffix(".npy"): manifest.read_entry(step.store, entry) for entry in entries}
    except (KeyNotFound, CorruptError):
        return None
    return {name: np.load(io.BytesIO(data), allow_pickle=False) for name, data in read.items()}


def _bytes(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
