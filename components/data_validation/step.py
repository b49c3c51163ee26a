"""The data validation step: every row of every shard judged against the suite, before anything is spent on the data."""

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelmill import recipe as recipes
from modelmill.core.digest import canonical_json, of_json
from modelmill.core.errors import GateFailed, UserError, one_line
from modelmill.data import shards
from modelmill.recipe import stored
from modelmill.recipe.step_specs import DATA, LOOK
from modelmill.runtime import retraining, run_records
from modelmill.runtime.run_records import DRIFT, QUARANTINE
from modelmill.runtime.step_runtime import Made, Step, entry, try_step, work_ahead
from modelmill.store import KeyNotFound, Store, manifest, open_store
from modelmill.store.manifest import Manifest
from modelmill.store.references import PROFILE

if TYPE_CHECKING:
    from modelmill.components.data_validation.judgement import Judgement

log = logging.getLogger("modelmill")
_MOST_NAMED = 20


def run(*, recipe: str, store: str, run_id: str, **outputs: str) -> dict[str, Any]:
    """Validate the data, then compare it with that of the version that was registered last.

    The drift is not part of what the step makes: it depends on the registry, and the same data must stay the same data.

    Args:
        recipe: The recipe's key in the store.
        store: URI of the store.
        run_id: The run's id.
        outputs: Files to write the manifests to, by port.

    Returns:
        `drifted` and `drift`; False and 0 where no version is registered.
    """
    validate(recipe=recipe, store=store, run_id=run_id, **outputs)
    made = Manifest.parse(Path(outputs["validation"]).read_bytes())
    opened = open_store(store)
    return measure_drift(recipes.from_json(stored.read(opened, recipe)), opened, run_id, made)


def measure_drift(recipe: recipes.Recipe, store: Store, run_id: str, validation: Manifest) -> dict[str, Any]:
    """Compare the run's data with that of the registered model, keep the report, and say so in the step's record.

    Args:
        recipe: The whole recipe.
        store: Where the run's records are.
        run_id: The run's id.
        validation: The manifest that data validation made.

    Returns:
        `drifted` and `drift`, the largest population stability index; False and 0 where no version is registered.
    """
    from modelmill.components.data_validation import drift, reference

    new = reference.profile_of(store, validation)
    known = reference.find(store, recipe.registration.model)
    if known is None or new is None:
        return {"drifted": False, "drift": 0.0}
    measured = drift.compare(known.profile, new, recipe.data.drift)
    report = {"model": recipe.registration.model, "version": known.version, **measured.to_json()}
    store.put(f"runs/{run_id}/validation/{DRIFT}", canonical_json(report))
    record = run_records.read_step(store, run_id, "data_validation")
    if measured.drifted and record is not None:
        record.headline += f", drifted from {recipe.registration.model} v{known.version} (PSI {measured.value:.2f})"
        run_records.write_step(store, run_id, record)
    return {"drifted": measured.drifted, "drift": measured.value}


def _make(step: Step) -> Made:
    """Keep the verdict and its page, whatever the verdict, then let the data pass or not."""
    from modelmill.components.data_validation import contract, conversations
    from modelmill.components.data_validation.shard_states import ShardStates

    path = step.recipe.data.path
    source_shards = shards.of(step.recipe.data)
    if shards.fingerprint(source_shards) != step.digests[DATA]:
        raise UserError(f"data.path: {path}: changed while the step was starting; run again")
    if ignored := shards.ignored(step.recipe.data):
        more = f" and {len(ignored) - _MOST_NAMED} more" if len(ignored) > _MOST_NAMED else ""
        log.warning("no data, by data.ignore: %s%s", ", ".join(ignored[:_MOST_NAMED]), more)
    suite: dict[str, Any] = step.recipe.data.suite  # type: ignore[assignment]
    states = ShardStates(step.store, step.document["code"], step.scratch)
    policy = step.recipe.data.quarantine
    held = conversations.of_recipe(step.recipe)
    try:
        judged = contract.judge(path, source_shards, suite, step.progress, states, policy, True, held)
    except contract.Quarantined as stopped:
        step.store.put(f"runs/{step.run_id}/validation/{QUARANTINE}", _quarantine(stopped.left_out, [], []))
        raise
    if judged.refused:
        raise UserError(judged.refused[0])
    assert judged.profile is not None
    files = {
        "result.json": canonical_json(judged.result),
        "data_docs.html": judged.data_docs(),
        PROFILE: canonical_json(judged.profile.to_json()),
    }
    if judged.left_out or judged.unusable or judged.malformed:
        files[QUARANTINE] = _quarantine(judged.left_out, judged.unusable, judged.malformed)
        _name(judged.unusable + judged.malformed)
    for name, data in files.items():
        step.store.put(f"runs/{step.run_id}/validation/{name}", data)
    if not judged.success:
        docs = f"runs/{step.run_id}/validation/data_docs.html"
        raise GateFailed(f"{judged.explain()}; correct the data or the suite; all in {docs}")
    dataset, rows = judged.dataset, judged.dataset.info["rows"]
    total, passed = len(judged.result["results"]), sum(r["success"] for r in judged.result["results"])
    validation = Manifest(
        kind="validation",
        entries=[manifest.add_bytes(step.store, data, name) for name, data in files.items()],
        made_from={"dataset": dataset.digest, "suite": of_json(suite)},
        info={"success": True, "rows": rows, "expectations": total, "passed": passed},
    )
    return Made(
        outputs={"dataset": dataset, "validation": validation},
        headline=f"{rows} rows, {passed}/{total} expectations" + _left_out(judged),
        metrics={
            "rows": rows,
            "shards": len(dataset.entries),
            "new_shards": judged.scanned,
            "quarantined": len(judged.left_out),
            "bytes": sum(e.bytes for e in dataset.entries),
            "expectations": total,
            "passed": passed,
        },
    )


validate = entry("data_validation", _make)


def has_changed(*, recipe: str, store: str, run_id: str) -> bool:
    """Tell whether there is something that no run of this recipe has ended with; only names are read.

    Args:
        recipe: The recipe's key in the store.
        store: URI of the store.
        run_id: The run's id.
    """
    reasons = []

    def work(step: Step) -> str:
        reasons.append(retraining.look(step.resolved, step.store, run_id, step.digests[DATA]))
        return reasons[0].text

    try_step("data_validation", work, recipe=recipe, store=store, run_id=run_id, inputs={}, record_name=LOOK)
    return reasons[0].train


def is_reason_to_train(*, recipe: str, store: str, run_id: str) -> bool:
    """Tell whether the data that the run has validated is a reason to train.

    Args:
        recipe: The recipe's key in the store.
        store: URI of the store.
        run_id: The run's id.
    """
    opened = open_store(store)
    try:
        drifted = json.loads(opened.get(f"runs/{run_id}/validation/{DRIFT}"))["drifted"]
    except KeyNotFound:
        drifted = None  # no model is registered that it could have drifted from
    return retraining.decide(recipes.from_json(stored.read(opened, recipe)), opened, run_id, drifted)


def scan_group(*, recipe: str, store: str, group: int, groups: int) -> int:
    """Scan every `groups`-th shard, from number `group` on, for the step to find; nothing if the step is finished.

    Args:
        recipe: The recipe's key in the store.
        store: URI of the store.
        group: Number of the first shard.
        groups: How many workers share the shards.

    Returns:
        How many shards were read.
    """
    from modelmill.components.data_validation import conversations, scanning
    from modelmill.components.data_validation.shard_states import ShardStates

    def work(step: Step) -> int:
        data = step.recipe.data
        source_shards = shards.of(data)[group::groups]
        suite: dict[str, Any] = data.suite  # type: ignore[assignment]
        states = ShardStates(step.store, step.document["code"], step.scratch)
        return scanning.scan_only(source_shards, suite, states, conversations.of_recipe(step.recipe))

    return work_ahead("data_validation", work, recipe=recipe, store=store, inputs={})


def _quarantine(left_out: list[Any], unusable: list[dict[str, Any]], malformed: list[dict[str, Any]]) -> bytes:
    return canonical_json({"shards": [o.to_json() for o in left_out], "files": unusable, "rows": malformed})


def _left_out(judged: "Judgement") -> str:
    count, said = len(judged.left_out), ""
    if count:
        said = f", {count} {'shard' if count == 1 else 'shards'} quarantined"
    for rows, what in ((judged.unusable, "with an unusable file"), (judged.malformed, "that are malformed")):
        if rows:
            said += f", {len(rows)} {'row' if len(rows) == 1 else 'rows'} {what} left out"
    return said


def _name(rows: list[dict[str, Any]]) -> None:
    """Say in the log which rows are left out; all of them are in the quarantine's file."""
    for one in rows[:_MOST_NAMED]:
        file = f"{one_line(one['file'])}: " if "file" in one else ""
        log.warning("left out: %s row %d: %s%s", one["shard"], one["row"], file, one["why"])
    if len(rows) > _MOST_NAMED:
        more = len(rows) - _MOST_NAMED
        log.warning("left out: and %d more rows; list them with modelmill data quarantine", more)
