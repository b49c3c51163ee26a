"""What is known of a data set's rows before they are encoded: a few bytes a row, noted shard by shard and kept."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from modelmill.corpus.in_memory import AllRows
from modelmill.corpus.media import File
from modelmill.corpus.required import require_column
from modelmill.corpus.shard_cache import ShardCache
from modelmill.corpus.split import SPLITS, columns_of, identify
from modelmill.data import shards
from modelmill.data.media.finding import FILE
from modelmill.data.shard import Shard
from modelmill.recipe.sections import Preparation
from modelmill.runtime.step_runtime import Step
from modelmill.store import manifest

Validated = list[tuple[Shard, str]]
# Rows that are Python objects at a time.
ROWS_AT_ONCE = 4096
_FILE = "rows.npz"


class Piece(NamedTuple):
    """Some rows of a shard.

    Attributes:
        table: Their columns.
        splits: Name of each row's split.
        ids: Identity of each row.
        files: The image or recording of each row, where the data has them.
        rows: Number of each row in the shard, from 0.
        path: Path of the shard, for messages.
    """

    table: pa.Table
    splits: list[str]
    ids: list[int]
    files: list[File]
    rows: list[int]
    path: str = ""

    def values(self, name: str) -> list[Any]:
        """Return the values of a column."""
        values: list[Any] = self.table.column(name).to_pylist()
        return values


# What a task notes of rows: arrays by name, most of them with one number a row, which are joined over all pieces.
Look = Callable[[Piece], dict[str, np.ndarray]]


class ShardRows(NamedTuple):
    """Rows of a shard.

    Attributes:
        rows: Their numbers in the shard, from 0 and without those whose file is left out: int64, (rows,).
        splits: Numbers of their splits in SPLITS: uint8, (rows,).
        ids: Their identities: uint64, (rows,).
        digests: The sha256 of each row's file: uint8, (rows, 32); without columns where rows have no files.
        unusable: Numbers of the rows of its manifest whose file is left out: int64, ascending.
        manifest: The sha256 of the manifest of files alone; empty where rows have none.
    """

    rows: np.ndarray
    splits: np.ndarray
    ids: np.ndarray
    digests: np.ndarray
    unusable: np.ndarray
    manifest: str

    def where(self, chosen: np.ndarray | slice) -> "ShardRows":
        """Return some of the rows."""
        each = {name: getattr(self, name)[chosen] for name in ("rows", "splits", "ids", "digests")}
        return self._replace(**each)

    def of(self, split: str) -> "ShardRows":
        """Return the rows of a split."""
        return self.where(self.splits == SPLITS.index(split))


class Noted(NamedTuple):
    """What is noted of all shards.

    Attributes:
        shards: The rows of each shard.
        rows: All rows, with the named columns as texts and without files.
        notes: What `look` has noted, by name.
    """

    shards: list[ShardRows]
    rows: AllRows
    notes: dict[str, np.ndarray]

    def where(self, chosen: AllRows) -> list[ShardRows]:
        """Return the rows of each shard that are among some of all rows."""
        if chosen.numbers is None:
            return self.shards
        first = np.cumsum([0, *(len(shard.rows) for shard in self.shards)])
        bounds = np.searchsorted(chosen.numbers, first)
        return [
            shard.where(chosen.numbers[begin:end] - before)
            for shard, before, begin, end in zip(self.shards, first, bounds, bounds[1:], strict=False)
        ]


def note(
    step: Step,
    validated: Validated,
    columns: Mapping[str, str],
    named: Sequence[str] = (),
    look: Look | None = None,
) -> Noted:
    """Return what is known of all rows; a shard that was read before is not read again.

    Splits and identities are those of `in_memory.read`.

    Args:
        step: The running step.
        validated: The dataset's shards, each with the sha256 that was validated.
        columns: Names of the columns that make a row, by the recipe's key that gives the name.
        named: Columns with few values, which are kept as texts; lists are JSON.
        look: Notes more of some rows; a function of a module, or a `partial` of one.

    Raises:
        UserError: A column is missing or has a null, or a shard has changed since it was validated.
    """
    settings = step.recipe.preprocessing
    wanted = {**columns, **columns_of(settings)}
    cache = ShardCache(step, "rows", frozenset({"sequence_length"}))
    work = partial(_note, settings=settings, columns=wanted, named=tuple(named), look=look)
    encoded, _ = cache.each(step, validated, [sha256 for _, sha256 in validated], work, [()] * len(validated), "rows")
    places = [
        manifest.fetch(step.store, one.entries, step.scratch / "rows" / str(n))[_FILE] for n, one in enumerate(encoded)
    ]
    return _joined([_load(place, one.counts, named) for place, one in zip(places, encoded, strict=True)], named)


class _Loaded(NamedTuple):
    """What was noted of one shard.

    Attributes:
        rows: Its rows.
        columns: The named columns.
        notes: What `look` has noted.
    """

    rows: ShardRows
    columns: dict[str, list[str]]
    notes: dict[str, np.ndarray]


def _note(
    shard: Shard,
    sha256: str,
    target: Path,
    *,
    settings: Preparation,
    columns: Mapping[str, str],
    named: Sequence[str],
    look: Look | None,
) -> tuple[dict[str, Path], dict[str, Any]]:
    """Write what is known of a shard's rows into a folder, and return the file and what describes it."""
    arrays: defaultdict[str, list[np.ndarray]] = defaultdict(list)
    codes: dict[str, dict[str, int]] = {name: {} for name in named}
    stream = shards.Stream(shard, sha256)
    for piece in _pieces(shard, stream, settings, columns):
        arrays["splits"].append(np.array([SPLITS.index(split) for split in piece.splits], np.uint8))
        arrays["ids"].append(np.array(piece.ids, np.uint64))
        arrays["digests"].append(_digests(piece.values("sha256") if shard.media else [""] * len(piece.ids)))
        for name, known in codes.items():
            numbers = [known.setdefault(_text_of(value), len(known)) for value in piece.values(name)]
            arrays[f"column:{name}"].append(np.array(numbers, np.uint32))
        for name, array in (look(piece) if look else {}).items():
            arrays[f"note:{name}"].append(array)
    found: dict[str, Any] = {name: np.concatenate(parts) for name, parts in arrays.items()}
    left_out = [one.row - 1 for one in stream.unusable] if shard.media and shard.media.corrupt == "leave_out" else []
    found["rows"], found["unusable"] = np.arange(len(found["ids"]), dtype=np.int64), np.array(left_out, np.int64)
    target.mkdir(parents=True, exist_ok=True)
    np.savez(target / _FILE, **found)
    said = {"manifest": stream.manifest, "names": {name: list(known) for name, known in codes.items()}}
    return {_FILE: target / _FILE}, {"all": said}


def _pieces(shard: Shard, stream: shards.Stream, settings: Preparation, columns: Mapping[str, str]) -> Iterator[Piece]:
    """Yield the rows of a shard, which has all columns without nulls."""
    start = 0
    for whole in stream:
        for key, name in columns.items():
            require_column(whole, shard, key, name, start)
        for begin in range(0, max(whole.num_rows, 1), ROWS_AT_ONCE):
            table = whole.slice(begin, ROWS_AT_ONCE)
            values = {name: table.column(name).to_pylist() for name in columns.values()}
            contents = [(one,) for one in table.column("sha256").to_pylist()] if shard.media else [()] * table.num_rows
            rows = range(start + begin, start + begin + table.num_rows)
            splits, ids = identify(values, contents, settings, shard.path, rows.start + 1)
            yield Piece(table, splits, ids, files_of(table, shard), list(rows), shard.path)
        start += whole.num_rows


def _text_of(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)


def files_of(table: pa.Table, shard: Shard) -> list[File]:
    """Return the files of rows, none where the shard names no files."""
    return [File(shard, name) for name in table.column(FILE).to_pylist()] if shard.media else []


def _digests(texts: list[str]) -> np.ndarray:
    return np.frombuffer(bytes.fromhex("".join(texts)), np.uint8).reshape(len(texts), 32 if any(texts) else 0)


def _load(file: Path, counts: dict[str, dict[str, Any]], named: Sequence[str]) -> _Loaded:
    said = counts["all"]
    with np.load(file, allow_pickle=False) as found:
        rows = ShardRows(**{name: found[name] for name in ShardRows._fields[:-1]}, manifest=said["manifest"])
        columns = {name: [said["names"][name][code] for code in found[f"column:{name}"].tolist()] for name in named}
        notes = {name.removeprefix("note:"): found[name] for name in found.files if name.startswith("note:")}
    return _Loaded(rows, columns, notes)


def _joined(loaded: list[_Loaded], named: Sequence[str]) -> Noted:
    columns = {name: [value for one in loaded for value in one.columns[name]] for name in named}
    splits = np.array(SPLITS, dtype=object)[np.concatenate([one.rows.splits for one in loaded])]
    rows = AllRows(columns, splits, np.concatenate([one.rows.ids for one in loaded]), [])
    notes = {name: np.concatenate([one.notes[name] for one in loaded]) for name in loaded[0].notes}
    return Noted([one.rows for one in loaded], rows, notes)
