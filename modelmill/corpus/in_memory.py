"""Data that fits into memory: read whole, split by hash and kept as arrays, as most tasks need it of preprocessing."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from modelmill.core.errors import UserError
from modelmill.corpus.media import File
from modelmill.corpus.required import require_column
from modelmill.corpus.split import SPLITS, columns_of, identify, key_of
from modelmill.data import shards
from modelmill.data.shard import Shard
from modelmill.runtime.step_runtime import Made, Step
from modelmill.store import manifest
from modelmill.store.manifest import Entry, Manifest


class AllRows(NamedTuple):
    """All rows of a data set.

    Attributes:
        columns: Values by column, one a row, without nulls.
        splits: Name of each row's split.
        ids: Identity of each row, uint64, equal for equal rows.
        files: The image or recording of each row, where the data has them; see `media`.
        numbers: Number of each row in the data set, int64, where these are not all of its rows.
    """

    columns: dict[str, list[Any]]
    splits: np.ndarray
    ids: np.ndarray
    files: list[File]
    numbers: np.ndarray | None = None


def read(step: Step, validated: list[tuple[Shard, str]], columns: Mapping[str, str]) -> AllRows:
    """Return all rows of a data set with their splits; see `split.identify`.

    An image or recording counts by its content, whatever its name, so that copies stay in one split.

    Args:
        step: The running step.
        validated: The dataset's shards, each with the sha256 that was validated.
        columns: Names of the columns to read, by the recipe's key that gives the name.

    Raises:
        UserError: A column is missing or has a null, a row names no split, or a shard has changed since it was
            validated.
    """
    settings = step.recipe.preprocessing
    wanted = {**columns, **columns_of(settings)}
    values: dict[str, list[Any]] = {name: [] for name in wanted.values()}
    files: list[File] = []
    splits: list[str] = []
    ids: list[int] = []
    for shard, table in _tables(step, validated, wanted):
        here = {name: table.column(name).to_pylist() for name in values}
        for name, some in here.items():
            values[name] += some
        if shard.media:
            files += [File(shard, name) for name in table.column("file").to_pylist()]
        contents = [(one,) for one in table.column("sha256").to_pylist()] if shard.media else [()] * table.num_rows
        named, identities = identify(here, contents, settings, shard.path)
        splits += named
        ids += identities
    return AllRows(values, np.array(splits), np.array(ids, np.uint64), files)


def read_columns(step: Step, validated: list[tuple[Shard, str]], columns: Mapping[str, str]) -> dict[str, list[Any]]:
    """Return the values of some columns of all rows, by the columns' names.

    Args:
        step: The running step.
        validated: The dataset's shards, each with the sha256 that was validated.
        columns: Names of the columns to read, by the recipe's key that gives the name.

    Raises:
        UserError: See `read`.
    """
    values: dict[str, list[Any]] = {name: [] for name in columns.values()}
    for _, table in _tables(step, validated, columns):
        for name in values:
            values[name] += table.column(name).to_pylist()
    return values


def _tables(
    step: Step, validated: list[tuple[Shard, str]], columns: Mapping[str, str]
) -> Iterator[tuple[Shard, pa.Table]]:
    """Yield the shards one by one, each with a table that has the wanted columns."""
    for number, (shard, sha256) in enumerate(validated):
        step.progress(number, len(validated), "reading")
        table, _ = shards.read(shard, sha256)
        for key, name in columns.items():
            require_column(table, shard, key, name)
        yield shard, table


def corpus(
    step: Step,
    arrays: Mapping[str, Mapping[str, np.ndarray]],
    info: dict[str, Any],
    files: Mapping[str, bytes] | None = None,
) -> Made:
    """Return the corpus as preprocessing's output.

    Args:
        step: The running step.
        arrays: Arrays by split and name; the first axis of all of a split's is that of its examples.
        info: What training has to know beside them.
        files: Files that prepare an input in serving too, by name.

    Raises:
        UserError: A split has no examples.
    """
    counts = {split: len(next(iter(arrays[split].values()))) for split in SPLITS}
    entries = [manifest.add_bytes(step.store, data, name) for name, data in (files or {}).items()]
    return described(step, counts, [*entries, *stored(step, arrays)], info)


def stored(step: Step, arrays: Mapping[str, Mapping[str, np.ndarray]]) -> list[Entry]:
    """Return entries for arrays, which go to the store.

    Args:
        step: The running step.
        arrays: Arrays by split and name.
    """
    entries = []
    for split, named in arrays.items():
        for name, array in named.items():
            file = step.scratch / split / f"{name}.npy"
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file, array, allow_pickle=False)
            entries.append(manifest.add_file(step.store, file, f"{split}/{name}.npy", rows=len(array)))
    return entries


def described(step: Step, counts: Mapping[str, int], entries: list[Entry], info: dict[str, Any]) -> Made:
    """Return the corpus of some entries as preprocessing's output.

    Args:
        step: The running step.
        counts: Examples of each split.
        entries: Files of the corpus.
        info: What training has to know beside them.

    Raises:
        UserError: A split has no examples.
    """
    for split, count in counts.items():
        if not count:
            key = key_of(split, step.recipe.preprocessing)
            raise UserError(f"{key}: no example is in the {split} split; change it, or add data")
    said = {
        "task": step.recipe.task,
        "splits": {split: {"examples": count} for split, count in counts.items()},
        "held_out": step.recipe.preprocessing.held_out,
    }
    return Made(
        outputs={"corpus": Manifest(kind="corpus", entries=entries, made_from=step.digests, info={**said, **info})},
        headline=", ".join(f"{count:,} {split}" for split, count in counts.items()),
        metrics={f"{split}_examples": count for split, count in counts.items()},
    )


def chosen(rows: AllRows, mask: np.ndarray) -> AllRows:
    """Return the rows where the mask, bool, (rows,), is true."""
    if mask.all():
        return rows
    columns = {name: _where(values, mask) for name, values in rows.columns.items()}
    files = _where(rows.files, mask) if rows.files else []
    numbers = np.flatnonzero(mask) if rows.numbers is None else rows.numbers[mask]
    return AllRows(columns, rows.splits[mask], rows.ids[mask], files, numbers)


def require_classes(labels: np.ndarray, splits: np.ndarray, classes: list[str], labelled: str) -> None:
    """Check that every split has rows of every class.

    Args:
        labels: Numbers of classes, int64, (rows,), negative where a row has no label.
        splits: Name of each row's split.
        classes: Names of the classes.
        labelled: The recipe's key that says how many training rows have a label.

    Raises:
        UserError: A split has no row of a class.
    """
    for split in SPLITS:
        counts = np.bincount(labels[(splits == split) & (labels >= 0)], minlength=len(classes))
        if not counts.all():
            name = classes[int(np.flatnonzero(counts == 0)[0])]
            advice = labelled if split == "train" else f"preprocessing.{split}"
            raise UserError(
                f"preprocessing.label: class {name!r} is missing from the {split} split's {int(counts.sum())} labelled "
                f"rows; raise {advice}, add data, or leave the class out"
            )


def by_split(whole: AllRows, arrays: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Return the rows of each split, with their ids as the array `ids`.

    Args:
        whole: All rows.
        arrays: Arrays over all rows, by name.
    """
    both = {**arrays, "ids": whole.ids}
    return {split: {name: array[whole.splits == split] for name, array in both.items()} for split in SPLITS}


def _where(values: list[Any], mask: np.ndarray) -> list[Any]:
    return [value for value, keep in zip(values, mask, strict=True) if keep]
