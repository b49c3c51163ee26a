"""What differs between two versions of a model: settings, data, metrics and code, from what their runs have left."""

from typing import Any

from modelmill.core.errors import CorruptError
from modelmill.recipe.step_specs import STEPS
from modelmill.runtime import memo, run_records
from modelmill.runtime.tracking.versions import Version
from modelmill.store import Store, manifest
from modelmill.store.manifest import Manifest

# A key or a name, and its two values.
Difference = tuple[str, Any, Any]
GONE = "no longer in the store"


def between(store: Store, a: Version, b: Version) -> dict[str, Any]:
    """Return what differs between two versions; a part is None where what it is told from is no longer in the store.

    Args:
        store: Where their runs left what made them.
        a: A version.
        b: Another.

    Returns:
        `settings`, `metrics` and `code` as differences; `data` with counts of rows and names of shards.
    """
    return {
        "settings": _differences(_recipe(store, a), _recipe(store, b)),
        "data": _data(_load(store, a, "dataset"), _load(store, b, "dataset")),
        "metrics": _differences(metrics(store, a), metrics(store, b)),
        "code": _differences(_code(store, a), _code(store, b)),
    }


def metrics(store: Store, version: Version) -> dict[str, Any] | None:
    """Return the metrics of the version's newest evaluation."""
    evaluation = _load(store, version, "evaluation")
    return evaluation.info["metrics"] if evaluation else None


def _differences(a: dict[str, Any] | None, b: dict[str, Any] | None) -> list[Difference] | None:
    return None if a is None or b is None else memo.differences(a, b)


def _recipe(store: Store, version: Version) -> dict[str, Any] | None:
    record = run_records.read_run(store, version.tags.get("modelmill.run_id", ""))
    return record.recipe if record else None


def _load(store: Store, version: Version, what: str) -> Manifest | None:
    try:
        return manifest.load(store, version.tags[f"modelmill.{what}"])
    except (CorruptError, KeyError):
        return None


def _data(a: Manifest | None, b: Manifest | None) -> dict[str, Any] | None:
    if a is None or b is None:
        return None
    old, new = ({entry.path: entry.sha256 for entry in made.entries} for made in (a, b))
    return {
        "rows": [a.info.get("rows"), b.info.get("rows")],
        "added": sorted(new.keys() - old.keys()),
        "removed": sorted(old.keys() - new.keys()),
        "changed": sorted(path for path in old.keys() & new.keys() if old[path] != new[path]),
    }


def _code(store: Store, version: Version) -> dict[str, Any] | None:
    """Return the source, Python and libraries of each step of the run that made the version."""
    code = {}
    for step in STEPS:
        record = run_records.read_step(store, version.tags.get("modelmill.run_id", ""), step)
        finished = memo.with_key(store, step, record.key) if record else None
        if finished is not None:
            code[step] = finished.document["code"]
    return code or None
