"""One shard of a table: its summary, from which scaler and classes are fitted, and its rows as arrays."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modelmill.core import digest
from modelmill.core.errors import UserError
from modelmill.corpus.split import SPLITS, columns_of, named_split, split_of
from modelmill.data import shards
from modelmill.data.shard import Shard
from modelmill.tasks.tabular_classification.recipe import TabularPreprocessing


class Rows(NamedTuple):
    """The rows of a shard.

    Attributes:
        features: float64, (rows, columns).
        labels: Label of each row, a text.
        splits: Name of each row's split.
        ids: Hash of the whole row, uint64, (rows,).
    """

    features: np.ndarray
    labels: np.ndarray
    splits: np.ndarray
    ids: np.ndarray


def summarise(shard: Shard, sha256: str, settings: TabularPreprocessing) -> dict[str, Any]:
    """Return the summary of a shard.

    It has the rows of each class in each split, `classes`, and `train`, the moments of the training rows' features.

    Args:
        shard: The shard.
        sha256: The sha256 that was validated.
        settings: The recipe's section.

    Raises:
        UserError: A column is missing, null or not a number, or the shard has changed.
    """
    rows = read(shard, sha256, settings)
    labels = {split: np.unique(rows.labels[rows.splits == split], return_counts=True) for split in SPLITS}
    counts = {split: dict(zip(*(a.tolist() for a in of), strict=True)) for split, of in labels.items()}
    return {"train": moments_of(rows.features[rows.splits == "train"]), "classes": counts}


def moments_of(features: np.ndarray) -> dict[str, Any]:
    """Return the count, the mean and the sum of squared deviations of each column.

    Args:
        features: float64, (rows, columns).
    """
    mean = features.mean(axis=0) if len(features) else np.zeros(features.shape[1])
    return {"count": len(features), "mean": mean.tolist(), "squares": ((features - mean) ** 2).sum(axis=0).tolist()}


def fit_scaler(moments: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the standard deviation of each column over all shards: float64, (columns,).

    The scale of a constant column is 1. Moments are merged as in Chan, Golub and LeVeque, 1983,
    https://doi.org/10.1080/00031305.1983.10483115.

    Args:
        moments: The moments of each shard; see `moments_of`.
    """
    count, mean, squares = 0, np.zeros(1), np.zeros(1)
    for part in moments:
        if not part["count"]:
            continue
        both = count + part["count"]
        difference = np.array(part["mean"]) - mean
        squares = squares + np.array(part["squares"]) + difference**2 * (count * part["count"] / both)
        mean = mean + difference * (part["count"] / both)
        count = both
    scale = np.sqrt(squares / count)
    # Rounding can leave the mean of equal numbers, and so their deviation, off by the last bit.
    return mean, np.where(scale > 1e-14 * np.abs(mean), scale, 1.0)


def encode(
    shard: Shard, sha256: str, settings: TabularPreprocessing, scaler: Path, classes: list[str], target: Path
) -> dict[str, Path]:
    """Write a shard's standardised features, labels and ids, and return the .npy files by name.

    Args:
        shard: The shard.
        sha256: The sha256 that was validated.
        settings: The recipe's section.
        scaler: File of the scaler.
        classes: Names of the classes.
        target: Folder to write into.

    Raises:
        UserError: See `read`.
    """
    rows = read(shard, sha256, settings)
    mean, scale = (np.array(json.loads(scaler.read_bytes())[key]) for key in ("mean", "scale"))
    files = {}
    for split in SPLITS:
        chosen = rows.splits == split
        arrays = {
            "features": ((rows.features[chosen] - mean) / scale).astype(np.float32),
            "labels": np.searchsorted(classes, rows.labels[chosen]).astype(np.int64),
            "ids": rows.ids[chosen],
        }
        for kind, array in arrays.items():
            name = f"{split}/{kind}.npy"
            files[name] = target / name
            files[name].parent.mkdir(parents=True, exist_ok=True)
            np.save(files[name], array, allow_pickle=False)
    return files


def read(shard: Shard, sha256: str, settings: TabularPreprocessing) -> Rows:
    """Return the rows of a shard.

    Args:
        shard: The shard.
        sha256: The sha256 that was validated.
        settings: The recipe's section.

    Raises:
        UserError: A column is missing, null or not a number, or the shard has changed.
    """
    table, _ = shards.read(shard, sha256)
    named = [("preprocessing.features", name) for name in settings.features]
    named += [("preprocessing.label", settings.label)]
    named += columns_of(settings).items()
    for key, name in named:
        _require(table, shard, key, name)
    features = np.stack([_numbers(table, shard, name) for name in settings.features], axis=1)
    labels = _texts(table.column(settings.label))
    wholes = [json.dumps([*row, label]) for row, label in zip(features.tolist(), labels, strict=True)]
    identities = _texts(table.column(settings.split_by)) if settings.split_by else wholes
    names: list[str | None] = [None] * table.num_rows
    if (column := settings.split_from) is not None:
        values = enumerate(table.column(column).to_pylist(), start=1)
        names = [named_split(value, column, shard.path, row) for row, value in values]
    splits = [split_of(identity, settings, name) for identity, name in zip(identities, names, strict=True)]
    ids = np.array([int(digest.of_bytes(whole.encode())[:16], 16) for whole in wholes], np.uint64)
    return Rows(features, np.array(labels), np.array(splits), ids)


def _require(table: pa.Table, shard: Shard, key: str, name: str) -> None:
    if name not in table.column_names:
        raise UserError(f"{key}: {shard.path} has no column {name!r}; its columns are {', '.join(table.column_names)}")
    if (row := _first(pc.is_null(table.column(name), nan_is_null=True))) is not None:
        raise UserError(f"{key}: {shard.path} row {row + 1}: column {name!r} is null")


def _numbers(table: pa.Table, shard: Shard, name: str) -> np.ndarray:
    kind = table.schema.field(name).type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise UserError(f"preprocessing.features: {shard.path}: column {name!r} is not a number but {kind}")
    numbers = table.column(name).cast(pa.float64(), safe=False)
    if (row := _first(pc.is_inf(numbers))) is not None:
        raise UserError(f"preprocessing.features: {shard.path} row {row + 1}: column {name!r} is infinite")
    return np.asarray(numbers.to_numpy())


def _first(mask: pa.ChunkedArray) -> int | None:
    """Return the position of the first true value; None if there is none."""
    position = int(pc.index(mask, True).as_py())
    return position if position >= 0 else None


def _texts(column: pa.ChunkedArray) -> list[str]:
    return [str(value) for value in column.to_pylist()]
