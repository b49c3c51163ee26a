"""Whether a run that trains only for a reason has one: data or a recipe that no run has come to an end with.

A run comes to an end when its model is registered or refused by a gate; that is noted under the recipe's name with what
it was made from. One that has failed is not, so the next run goes on where it failed.
"""

import json
from typing import Any, NamedTuple

from modelmill.core import digest
from modelmill.recipe import Recipe
from modelmill.recipe.step_specs import DATA
from modelmill.runtime import memo, run_records
from modelmill.store import KeyNotFound, Store


class Reason(NamedTuple):
    """Whether to train, and why, in words."""

    train: bool
    text: str


def look(recipe: str, store: Store, run_id: str, data: str) -> Reason:
    """Whether there is something that no run of this recipe has come to an end with.

    Args:
        recipe: resolved, as JSON. data: digest of the data that is there now.
    """
    document = json.loads(recipe)
    now = _made_from(document, data)
    known = _read(store, _settled_key(document["name"]))
    changed = [name for name in now if known.get(name) != now[name]]
    text = "nothing has changed" if not changed else f"changed: {', '.join(changed)}"
    found = Reason(bool(changed), f"{text} since run {known['run_id']}" if known else "the first run of this recipe")
    _write(store, run_id, found)
    return found


def decide(recipe: Recipe, store: Store, run_id: str, drifted: bool | None) -> bool:
    """Whether validated data is a reason to train.

    Args:
        drifted: from the registered model's data; None if no model is registered.
    """
    train = drifted is not False or recipe.data.retrain == "new_data"
    if not train:
        why = "the data has not drifted from the registered model's (data.retrain: drift)"
        _write(store, run_id, Reason(False, why))
    return train


def nothing_to_do(store: Store, run_id: str) -> str | None:
    """Why a run had no reason to train, None if it had or has not asked."""
    found = _read(store, _key(run_id))
    return str(found["text"]) if found.get("train") is False else None


def settle(store: Store, recipe: dict[str, Any], run_id: str) -> None:
    """Note what a run that has come to an end was made from: the data that it has validated, not what is there now."""
    record = run_records.read_step(store, run_id, "data_validation")
    finished = memo.with_key(store, "data_validation", record.key) if record else None
    if finished is not None and "name" in recipe:
        made_from = _made_from(recipe, finished.document["inputs"][DATA])
        store.put(_settled_key(recipe["name"]), digest.canonical_json({**made_from, "run_id": run_id}))


def _made_from(recipe: dict[str, Any], data: str) -> dict[str, str]:
    return {"data": data, "recipe": digest.of_json(recipe)}


def _write(store: Store, run_id: str, reason: Reason) -> None:
    store.put(_key(run_id), digest.canonical_json(reason._asdict()))


def _key(run_id: str) -> str:
    return f"runs/{run_id}/retraining.json"


def _settled_key(recipe_name: str) -> str:
    return f"settled/{recipe_name}.json"


def _read(store: Store, key: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(store.get(key))
    except (KeyNotFound, ValueError):
        return {}
    return found
