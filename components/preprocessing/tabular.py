"""Columns into standardised arrays: split, fit the scaler on the training split, encode every shard."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from components.common import fitted, manifest, shards, sources
from components.common.errors import UserError
from components.common.manifest import Entry, Manifest
from components.common.recipe.tabular import TabularClassificationRecipe, TabularPreprocessing
from components.common.shards import Shard
from components.common.step import Made, Step
from components.preprocessing.split import SPLITS, split_of

SCALER = "scaler.json"


class Rows(NamedTuple):
    """One shard: features (float64, (rows, columns)), labels and splits (one text a row)."""

    features: np.ndarray
    labels: np.ndarray
    splits: np.ndarray


def preprocess(step: Step, found: list[tuple[Shard, str]]) -> Made:
    """
    Args:
        found: the dataset's shards, each with the sha256 that was validated.
    Raises:
        UserError: a column is missing, null or not a number, a shard has changed, or a split lacks a class.
    """
    recipe = step.recipe
    assert isinstance(recipe, TabularClassificationRecipe)
    settings = recipe.preprocessing
    read = []
    for shard, sha256 in found:
        read.append(_rows(shard, sha256, settings))
        step.progress(len(read), len(found), "reading")
    classes = sorted({label for rows in read for label in rows.labels.tolist()})
    counts = _count(read, classes)
    _require_classes(counts, classes)
    scaler, settled = _scaler(step, read)
    entries = [manifest.add_file(step.store, scaler, scaler.name)]
    mean, scale = (np.array(json.loads(scaler.read_bytes())[key]) for key in ("mean", "scale"))
    for number, rows in enumerate(read):
        entries += _store_shard(step, rows, number, mean, scale, classes)
    corpus = Manifest(
        kind="corpus",
        entries=entries,
        made_from=step.digests,
        info={"task": recipe.task, "features": settings.features, "classes": classes, "splits": counts},
    )
    sizes = {split: sum(counts[split].values()) for split in SPLITS}
    return Made(
        outputs={"corpus": corpus},
        headline=", ".join(f"{n} {split}" for split, n in sizes.items()),
        metrics={f"{split}_rows": n for split, n in sizes.items()},
        settled=settled,
    )


def _scaler(step: Step, read: list[Rows]) -> tuple[Path, dict[str, str]]:
    """The file with the scaler, fitted before or fitted now; and what that settles."""
    folder = step.scratch / "scaler"
    if (kept := step.digests[fitted.INPUT]) != sources.NOTHING:
        return fitted.fetch(step.store, kept, folder) / SCALER, {}
    mean, scale = fit_scaler(np.concatenate([rows.features[rows.splits == "train"] for rows in read]))
    folder.mkdir()
    (folder / SCALER).write_text(json.dumps({"mean": mean.tolist(), "scale": scale.tolist()}))
    if step.recipe.preprocessing.fit == "always":
        return folder / SCALER, {}
    kept = fitted.keep(step.store, step.recipe, [folder / SCALER])
    return fitted.fetch(step.store, kept, folder) / SCALER, {fitted.INPUT: kept}


def fit_scaler(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column (float64); a constant column is left at scale 1."""
    scale = features.std(axis=0)
    return features.mean(axis=0), np.where(scale > 0, scale, 1.0)


def _rows(shard: Shard, sha256: str, settings: TabularPreprocessing) -> Rows:
    table, _ = shards.read(shard, sha256)
    named = [("preprocessing.features", f) for f in settings.features] + [("preprocessing.label", settings.label)]
    named += [("preprocessing.split_by", settings.split_by)] if settings.split_by else []
    for key, name in named:
        if name not in table.column_names:
            raise UserError(
                f"{key}: {shard.path} has no column {name!r}; its columns are {', '.join(table.column_names)}"
            )
        nulls = [row for row, value in enumerate(table.column(name).to_pylist()) if value is None or value != value]
        if nulls:
            raise UserError(f"{key}: {shard.path} row {nulls[0] + 1}: column {name!r} is null")
    features = np.stack([_numbers(table, shard, name) for name in settings.features], axis=1)
    labels = np.array([str(value) for value in table.column(settings.label).to_pylist()])
    identities = (
        [str(value) for value in table.column(settings.split_by).to_pylist()]
        if settings.split_by
        else [json.dumps([*row, label]) for row, label in zip(features.tolist(), labels.tolist(), strict=True)]
    )
    return Rows(features, labels, np.array([split_of(identity, settings) for identity in identities]))


def _numbers(table: Any, shard: Shard, name: str) -> np.ndarray:
    import pyarrow as pa

    kind = table.schema.field(name).type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise UserError(f"preprocessing.features: {shard.path}: column {name!r} is not a number but {kind}")
    numbers = np.array(table.column(name).to_pylist(), dtype=np.float64)
    if not np.isfinite(numbers).all():
        row = int(np.flatnonzero(~np.isfinite(numbers))[0]) + 1
        raise UserError(f"preprocessing.features: {shard.path} row {row}: column {name!r} is infinite")
    return numbers


def _count(read: list[Rows], classes: list[str]) -> dict[str, dict[str, int]]:
    return {
        split: {c: int(sum(((r.labels == c) & (r.splits == split)).sum() for r in read)) for c in classes}
        for split in SPLITS
    }


def _require_classes(counts: dict[str, dict[str, int]], classes: list[str]) -> None:
    if len(classes) < 2:
        raise UserError(f"preprocessing.label: the data has {len(classes)} class, a classifier needs two")
    for split in SPLITS:
        missing = [c for c in classes if not counts[split][c]]
        if missing:
            raise UserError(
                f"preprocessing.label: class {missing[0]!r} is missing from the {split} split "
                f"({sum(counts[split].values())} rows); raise preprocessing.validation or .test, or add data"
            )


def _store_shard(
    step: Step, rows: Rows, number: int, mean: np.ndarray, scale: np.ndarray, classes: list[str]
) -> list[Entry]:
    entries = []
    for split in SPLITS:
        chosen = rows.splits == split
        arrays = {
            "features": ((rows.features[chosen] - mean) / scale).astype(np.float32),
            "labels": np.searchsorted(classes, rows.labels[chosen]).astype(np.int64),
        }
        for kind, array in arrays.items():
            name = f"{split}/{number:05d}.{kind}.npy"
            file: Path = step.scratch / name
            file.parent.mkdir(exist_ok=True)
            np.save(file, array, allow_pickle=False)
            entries.append(manifest.add_file(step.store, file, name, rows=len(array)))
    return entries
