"""Steps that are reused: their key is finished, and what they made is there."""

import time

from modelmill import recipe as recipes
from modelmill.core.errors import ModelmillError
from modelmill.recipe import Recipe
from modelmill.runtime import memo, run_records
from modelmill.runtime.recorded import record_finished, recorded
from modelmill.runtime.run_records import StepRecord
from modelmill.runtime.step_keys import key_document
from modelmill.store import Store, retention
from modelmill.store.manifest import Manifest


def reuse_step(
    name: str, recipe: Recipe, store: Store, run_id: str, inputs: dict[str, Manifest]
) -> memo.Finished | None:
    """Record the step as reused and return it if its key is finished; else it is recorded as one that begins.

    Args:
        name: The step's name.
        recipe: The whole recipe.
        store: Store with the memo and the run's records.
        run_id: The run whose record is written.
        inputs: Manifests by the names in the step's specification (`preprocessing.corpus`).
    """
    document = key_document(name, recipe, store, inputs)
    record = StepRecord(name=name, status="running", started=time.time(), key=memo.key_of(document))
    # gc keeps what a step could find once it knows of the step, finished or about to begin.
    run_records.write_step(store, run_id, record)
    retention.wait(store)
    finished = memo.find(store, document)
    if finished is not None:
        record.status = "reused"
        record_finished(store, run_id, record, finished, recipe)
    return finished


def reuse_key(name: str, key: str, *, recipe: str, store: str, run_id: str) -> memo.Finished:
    """Record a step as reused that was known to be finished before the run began, and return it.

    Args:
        name: The step's name.
        key: The step's key.
        recipe: The recipe's key in the store.
        store: URI of the store.
        run_id: The run whose record is written.

    Raises:
        SystemExit: What the step made is no longer whole, after that was recorded.
    """
    with recorded(name, store, run_id, recipe) as (opened, record, resolved):
        known = memo.with_key(opened, name, key)
        finished = memo.find(opened, known.document) if known else None
        if finished is None:
            raise ModelmillError(
                f"{name}: it was finished when this run was submitted, and what it made is not there any more; "
                "modelmill submit starts a run that makes it again"
            )
        record.status, record.key = "reused", key
        record_finished(opened, run_id, record, finished, recipes.from_json(resolved))
    return finished


def is_finished(name: str, recipe: Recipe, store: Store, inputs: dict[str, Manifest]) -> bool:
    """Return whether the step's key is finished and its outputs are there; the arguments are those of `reuse_step`."""
    return memo.find(store, key_document(name, recipe, store, inputs)) is not None
