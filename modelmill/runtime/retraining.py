"""Reasons to retrain, for runs that train only for one: data or a recipe that no run has settled.

A run settles its data and recipe when its model is registered or refused by a gate; that is noted under the recipe's
name. A run that failed settles nothing, so the next run goes on where it failed.
"""

import json
from typing import Any, NamedTuple

from modelmill.core import digest
from modelmill.recipe import Recipe
from modelmill.recipe.step_specs import DATA
from modelmill.runtime import memo, run_records
from modelmill.store import KeyNotFound, Store


class Reason(NamedTuple):
    """A decision whether to train.

    Attributes:
        train: Whether to train.
        text: Why, in words.
    """

    train: bool
    text: str


def look(recipe: str, store: Store, run_id: str, data: str) -> Reason:
    """Decide, and record, whether there is something that no run of this recipe has settled.

    Args:
        recipe: The resolved recipe as JSON.
        store: Store with earlier runs.
        run_id: The run that asks.
        data: Digest of the data that is there now.
    """
    document = json.loads(recipe)
    now = _made_from(document, data)
    known = _read(store, _settled_key(document["name"]))
    changed = [name for name in now if known.get(name) != now[name]]
    text = "nothing has changed" if not changed else f"changed: {', '.join(changed)}"
    reason = Reason(bool(changed), f"{text} since run {known['run_id']}" if known else "the first run of this recipe")
    _write(store, run_id, reason)
    return reason


def decide(recipe: Recipe, store: Store, run_id: str, drifted: bool | None) -> bool:
    """Return whether validated data is a reason to train; record why if it is none.

    Args:
        recipe: The recipe.
        store: Store with the run's records.
        run_id: The run.
        drifted: Whether the data has drifted from the registered model's; None if no model is registered.
    """
    train = drifted is not False or recipe.data.retrain == "new_data"
    if not train:
        why = "the data has not drifted from the registered model's (data.retrain: drift)"
        _write(store, run_id, Reason(False, why))
    return train


def nothing_to_do(store: Store, run_id: str) -> str | None:
    """Return why a run had no reason to train, None if it had one or has not asked."""
    reason = _read(store, _key(run_id))
    return str(reason["text"]) if reason.get("train") is False else None


def settle(store: Store, recipe: dict[str, Any], run_id: str) -> None:
    """Note what a run has settled: its recipe, and the data that it has validated, not what is there now.

    Args:
        store: Store with the run's records.
        recipe: The resolved recipe.
        run_id: The run, which has registered its model or was stopped by a gate.
    """
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
        document: dict[str, Any] = json.loads(store.get(key))
    except (KeyNotFound, ValueError):
        return {}
    return document
