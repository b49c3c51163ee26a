"""Preprocessing of columns into standardised arrays: split, fit the scaler on the training split, encode shards."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from modelmill.core import digest
from modelmill.core.errors import UserError
from modelmill.corpus import processes
from modelmill.corpus.shard_cache import Encoded, ShardCache
from modelmill.corpus.split import SPLITS, key_of
from modelmill.data.shard import Shard
from modelmill.recipe.step_specs import FITTED
from modelmill.runtime import external_inputs, fitted
from modelmill.runtime.step_runtime import Made, Step
from modelmill.store import manifest
from modelmill.store.manifest import Manifest
from modelmill.tasks.tabular_classification import table
from modelmill.tasks.tabular_classification.recipe import Recipe, TabularPreprocessing

SCALER = "scaler.json"
Shards = list[tuple[Shard, str]]


class Fitted(NamedTuple):
    """The scaler and the classes, which every shard is encoded with.

    Attributes:
        scaler: File of the scaler.
        settled: `same_for` of `Made`.
        classes: Names of the classes.
        counts: Rows by split and class.
        new: How many shards were read for it.
    """

    scaler: Path
    settled: dict[str, str]
    classes: list[str]
    counts: dict[str, dict[str, int]]
    new: int


def preprocess(step: Step, shards: Shards) -> Made:
    """Return the corpus.

    Args:
        step: The running step.
        shards: The dataset's shards, each with the sha256 that was validated.

    Raises:
        UserError: A column is missing, null or not a number, a shard has changed, or a split lacks a class.
    """
    recipe = step.recipe
    assert isinstance(recipe, Recipe)
    settings = recipe.preprocessing
    fitted_now = fit(step, shards)
    counts, classes = fitted_now.counts, fitted_now.classes
    encoded, _ = encode(step, shards, fitted_now, range(len(shards)))
    entries = [manifest.add_file(step.store, fitted_now.scaler, fitted_now.scaler.name)]
    entries += [entry for number, one in enumerate(encoded) for entry in one.numbered(number)]
    corpus = Manifest(
        kind="corpus",
        entries=entries,
        made_from=step.digests,
        info={
            "task": recipe.task,
            "features": settings.features,
            "classes": classes,
            "splits": counts,
            "held_out": settings.held_out,
        },
    )
    sizes = {split: sum(counts[split].values()) for split in SPLITS}
    return Made(
        outputs={"corpus": corpus},
        headline=", ".join(f"{n} {split}" for split, n in sizes.items()),
        metrics={f"{split}_rows": n for split, n in sizes.items()} | {"new_shards": fitted_now.new},
        same_for=fitted_now.settled,
    )


def fit(step: Step, shards: Shards) -> Fitted:
    """Return the scaler and the classes, fitted on all shards.

    Args:
        step: The running step.
        shards: The dataset's shards, each with the sha256 that was validated.

    Raises:
        UserError: See `preprocess`.
    """
    assert isinstance(step.recipe, Recipe)
    summaries, new = _summaries(step, shards, step.recipe.preprocessing)
    counts = _count([summary["classes"] for summary in summaries])
    classes = sorted({label for split in counts.values() for label in split})
    _require_classes(counts, classes, step.recipe.preprocessing)
    scaler, settled = _scaler(step, [summary["train"] for summary in summaries])
    return Fitted(scaler, settled, classes, counts, new)


def _summaries(step: Step, shards: Shards, settings: TabularPreprocessing) -> tuple[list[dict[str, Any]], int]:
    """Return the summary of each shard, in order, and how many shards were read for it."""
    cache = ShardCache(step, "summary")
    known = {sha256: cache.find(sha256) for _, sha256 in shards}
    new = [(shard, sha256) for shard, sha256 in shards if known[sha256] is None]
    made = processes.each(table.summarise, [(shard, sha256, settings) for shard, sha256 in new])
    for done, ((_, sha256), summary) in enumerate(zip(new, made, strict=True)):
        known[sha256] = cache.keep(sha256, {}, summary)
        step.progress(done, 2 * len(new), "reading")
    return [one.counts for _, sha256 in shards if (one := known[sha256])], len(new)


def _scaler(step: Step, moments: list[dict[str, Any]]) -> tuple[Path, dict[str, str]]:
    """Return the file of the scaler, fitted before or fitted now, and what that settles."""
    folder = step.scratch / "scaler"
    if (kept := step.digests[FITTED]) != external_inputs.NOTHING:
        return fitted.fetch(step.store, kept, folder) / SCALER, {}
    mean, scale = table.fit_scaler(moments)
    folder.mkdir()
    (folder / SCALER).write_text(json.dumps({"mean": mean.tolist(), "scale": scale.tolist()}))
    if step.recipe.preprocessing.fit == "always":
        return folder / SCALER, {}
    kept = fitted.keep(step.store, step.recipe, [folder / SCALER])
    return fitted.fetch(step.store, kept, folder) / SCALER, {FITTED: kept}


def encode(step: Step, shards: Shards, fitted_now: Fitted, which: range) -> tuple[list[Encoded], int]:
    """Return the arrays of some shards, in order, and how many of them were not encoded before.

    Args:
        step: The running step.
        shards: The dataset's shards, each with the sha256 that was validated.
        fitted_now: Scaler and classes.
        which: Numbers of the shards to encode.
    """
    assert isinstance(step.recipe, Recipe)
    settings, scaler, classes = step.recipe.preprocessing, fitted_now.scaler, fitted_now.classes
    cache = ShardCache(step, digest.of_json([digest.of_file(scaler), classes]))
    chosen = [shards[number] for number in which]
    known = {sha256: cache.find(sha256) for _, sha256 in chosen}
    new = [(shard, sha256) for shard, sha256 in chosen if known[sha256] is None]
    jobs = [(shard, sha256, settings, scaler, classes, step.scratch / sha256) for shard, sha256 in new]
    for done, ((_, sha256), files) in enumerate(zip(new, processes.each(table.encode, jobs), strict=True)):
        known[sha256] = cache.keep(sha256, files, {})
        step.progress(len(new) + done, 2 * len(new), "encoding")
    return [encoded for _, sha256 in chosen if (encoded := known[sha256])], len(new)


def _count(summaries: list[dict[str, dict[str, int]]]) -> dict[str, dict[str, int]]:
    """Return the rows by split and class, for every class in every split."""
    classes = sorted({label for counts in summaries for split in counts.values() for label in split})
    return {s: {c: sum(counts[s].get(c, 0) for counts in summaries) for c in classes} for s in SPLITS}


def _require_classes(counts: dict[str, dict[str, int]], classes: list[str], settings: TabularPreprocessing) -> None:
    if len(classes) < 2:
        raise UserError(f"preprocessing.label: the data has {len(classes)} class, a classifier needs two")
    for split in SPLITS:
        missing = [c for c in classes if not counts[split][c]]
        if missing:
            raise UserError(
                f"preprocessing.label: class {missing[0]!r} is missing from the {split} split "
                f"({sum(counts[split].values())} rows); change {key_of('train', settings)}, or add data"
            )
