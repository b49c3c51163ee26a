"""Corpora larger than memory: shards are encoded one by one into examples on disk, and kept by what made them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from modelmill.core import digest
from modelmill.corpus import in_memory
from modelmill.corpus.example_shards import ShardedWriter
from modelmill.corpus.media import File
from modelmill.corpus.row_notes import ROWS_AT_ONCE, Piece, ShardRows, Validated, files_of
from modelmill.corpus.shard_cache import Encoded, ShardCache
from modelmill.corpus.split import SPLITS
from modelmill.data import shards
from modelmill.data.media import placing
from modelmill.data.shard import Shard, TableStream
from modelmill.runtime.step_runtime import Made, Step
from modelmill.store import manifest

# Writes the examples of a piece, and returns counts of what it met, by split or under another name. They are added up,
# but of a count whose name begins with `most` the largest one is taken.
Encode = Callable[[Piece, ShardedWriter], Mapping[str, Mapping[str, int]]]


def encode(
    step: Step,
    validated: Validated,
    rows: Sequence[ShardRows],
    work: Encode,
    fitted: str,
    unread: frozenset[str] = frozenset(),
) -> tuple[list[Encoded], int]:
    """Return the shards' rows as examples, and how many shards were not encoded before.

    Args:
        step: The running step.
        validated: The dataset's shards, each with the sha256 that was validated.
        rows: The rows to encode, of each shard.
        work: Encodes a piece of a shard; a function of a module, or a `partial` of one.
        fitted: Digest of what `work` is given beside rows and settings, such as a tokenizer.
        unread: Settings that make no difference but to which rows there are, and their splits.
    """
    cache = ShardCache(step, fitted, unread)
    keys = [_key(sha256, chosen) for (_, sha256), chosen in zip(validated, rows, strict=True)]
    jobs = [(chosen,) for chosen in rows]
    return cache.each(step, validated, keys, partial(_encode, work=work), jobs, "encoding")


def corpus(
    step: Step,
    encoded: Sequence[Encoded],
    info: dict[str, Any],
    files: Mapping[str, bytes] | None = None,
    arrays: Mapping[str, Mapping[str, np.ndarray]] | None = None,
    folder: str = "",
) -> Made:
    """Return the corpus of encoded shards as preprocessing's output.

    Args:
        step: The running step.
        encoded: The shards, in order.
        info: What training has to know beside them.
        files: Files that prepare an input in serving too, by name.
        arrays: Arrays of few bytes an example, by split and name.
        folder: Folder within each split whose examples are counted.

    Raises:
        UserError: A split has no examples.
    """
    counts = {split: count(encoded, f"{split}/{folder}" if folder else split, "examples") for split in SPLITS}
    entries = [manifest.add_bytes(step.store, data, name) for name, data in (files or {}).items()]
    entries += [entry for number, one in enumerate(encoded) for entry in one.numbered(number)]
    return in_memory.described(step, counts, [*entries, *in_memory.stored(step, arrays or {})], info)


def count(encoded: Sequence[Encoded], split: str, name: str) -> int:
    """Return a count of a split, or of another name, in all shards."""
    return _together(name, [int(one.counts.get(split, {}).get(name, 0)) for one in encoded])


def _together(name: str, counts: list[int]) -> int:
    return max(counts, default=0) if name.startswith("most") else sum(counts)


def pieces(shard: Shard, sha256: str, rows: ShardRows) -> Iterator[Piece]:
    """Yield some rows of a shard, piece by piece; files are not read, but have the digests that they must have.

    Args:
        shard: The shard.
        sha256: Digest of the bytes that were validated.
        rows: The rows.

    Raises:
        UserError: The shard has changed since it was validated.
    """
    start = 0
    for whole in _tables(shard, sha256, rows):
        for begin in range(0, whole.num_rows, ROWS_AT_ONCE):
            table = whole.slice(begin, ROWS_AT_ONCE)
            first = start + begin
            here = rows.where(slice(*np.searchsorted(rows.rows, [first, first + table.num_rows])))
            if not len(here.rows):
                continue
            table = table.take(here.rows - first)
            digests = (row.tobytes().hex() for row in here.digests)
            files = [file._replace(sha256=one) for file, one in zip(files_of(table, shard), digests, strict=False)]
            splits = [SPLITS[split] for split in here.splits.tolist()]
            yield Piece(table, splits, here.ids.tolist(), files, here.rows.tolist(), shard.path)
        start += whole.num_rows


def _tables(shard: Shard, sha256: str, rows: ShardRows) -> Iterator[pa.Table]:
    """Yield the columns of a shard's usable rows; its files are opened only where columns depend on them."""
    if shard.media is None or shard.layout in placing.LAYOUTS:
        yield from shards.Stream(shard, sha256)
        return
    start = 0
    for whole in TableStream(shards.alone(shard), rows.manifest):
        numbers = np.arange(start, start + whole.num_rows)
        yield whole.filter(pa.array(~np.isin(numbers, rows.unusable))) if len(rows.unusable) else whole
        start += whole.num_rows


def file_of(validated: Validated, rows: Sequence[ShardRows], number: int) -> File:
    """Return the image or recording of a row, for a message.

    Args:
        validated: The dataset's shards, each with the sha256 that was validated.
        rows: All rows of each shard.
        number: Number of the row in the data set.
    """
    for (shard, sha256), known in zip(validated, rows, strict=True):
        if number < len(known.rows):
            (piece,) = pieces(shard, sha256, known.where(slice(number, number + 1)))
            return piece.files[0]
        number -= len(known.rows)
    raise IndexError(number)


def _encode(
    shard: Shard, sha256: str, target: Path, rows: ShardRows, *, work: Encode
) -> tuple[dict[str, Path], dict[str, dict[str, int]]]:
    """Write a shard's examples into a folder, and return the files and counts."""
    counts: dict[str, dict[str, int]] = {}
    target.mkdir(parents=True, exist_ok=True)
    with ShardedWriter(target) as writer:
        for piece in pieces(shard, sha256, rows):
            for split, found in work(piece, writer).items():
                there = counts.setdefault(split, {})
                there |= {name: _together(name, [there.get(name, 0), number]) for name, number in found.items()}
    for split, examples in writer.counts.items():
        counts.setdefault(split, {})["examples"] = examples
    return writer.files(), counts


def _key(sha256: str, rows: ShardRows) -> str:
    """Return the cache key for some rows of a shard, each in its split."""
    return digest.of_json([sha256, *(digest.of_bytes(one.tobytes()) for one in (rows.rows, rows.splits, rows.ids))])
