"""The pairs of one shard as a checkpoint reads and writes them."""

import json
from collections import Counter
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from modelmill.core import digest
from modelmill.core.errors import UserError
from modelmill.corpus import example_shards, packing
from modelmill.corpus.example_shards import ShardedWriter
from modelmill.corpus.split import SPLITS, named_split, split_of
from modelmill.data import shards
from modelmill.data.shard import Shard
from modelmill.tasks.translation.recipe import TranslationPreprocessing
from modelmill.tasks.translation.sides import SHARED, SIDES, Encoder, Sides, load_tokenizer

# Counts of rows that are not in the corpus, by why.
LEFT_OUT = ("empty", "too_long", "unpaired")
# Rows that are encoded at a time.
_AT_ONCE = 4096


class Row(NamedTuple):
    """A row of the data.

    Attributes:
        number: Its number in the shard, from 1.
        split: Name of its split.
        identity: 64 bits, equal for equal rows.
        texts: Source and target.
    """

    number: int
    split: str
    identity: int
    texts: tuple[str, str]


def encode(
    shard: Shard, sha256: str, settings: TranslationPreprocessing, folder: Path, sides: Sides, target: Path
) -> tuple[dict[str, Path], dict[str, dict[str, int]]]:
    """Read, split and encode one shard; memory does not grow with it.

    An example has `source` and `target`, ids with those around a text, and `source_text` and `target_text`, UTF-8.

    Args:
        shard: The shard.
        sha256: Digest of the bytes that were validated.
        settings: The recipe's `preprocessing`.
        folder: The checkpoint's tokenizer.
        sides: Both sides of a translation.
        target: The folder for the files.

    Returns:
        The files by their names, and by split the counts of what they hold.

    Raises:
        UserError: A column is missing, null or not text, or a text is empty or too long where the recipe refuses these.
    """
    encoders = (Encoder(folder, sides.source), Encoder(folder, sides.target))
    dtype = packing.token_type(load_tokenizer(folder / SHARED).get_vocab_size(with_added_tokens=True))
    counts: dict[str, Counter[str]] = {split: Counter(dict.fromkeys(("examples", *LEFT_OUT), 0)) for split in SPLITS}
    with ShardedWriter(target) as writer:
        for rows in _batches(shard, sha256, settings, counts):
            ids = [encoder.ids([row.texts[n] for row in rows]) for n, encoder in enumerate(encoders)]
            for row, source, translation in zip(rows, *ids, strict=True):
                if max(len(source), len(translation)) > sides.length:
                    _require_dropped(settings, shard, row, sides.length)
                    counts[row.split]["too_long"] += 1
                    continue
                arrays = {"source": np.array(source, dtype), "target": np.array(translation, dtype)}
                texts = {
                    f"{side}_text": example_shards.of_text(text) for side, text in zip(SIDES, row.texts, strict=True)
                }
                writer.add(row.split, row.identity, arrays | texts)
                counts[row.split]["examples"] += 1
    return writer.files(), {split: dict(count) for split, count in counts.items()}


def _batches(
    shard: Shard, sha256: str, settings: TranslationPreprocessing, counts: dict[str, Counter[str]]
) -> Iterator[list[Row]]:
    """Yield the rows that may be in the corpus, some at a time; others are counted."""
    batch: list[Row] = []
    for row in _rows(shard, sha256, settings):
        if reason := _left_out(row, shard, settings):
            counts[row.split][reason] += 1
            continue
        batch.append(row)
        if len(batch) == _AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def _rows(shard: Shard, sha256: str, settings: TranslationPreprocessing) -> Iterator[Row]:
    assert settings.split_by is not None
    keys = {"source": settings.source, "target": settings.target, "split_by": settings.split_by}
    first, named = 1, settings.split_from
    for table in shards.Stream(shard, sha256):
        columns = {name: _column(table, shard, key, name, first) for key, name in keys.items()}
        by = keys["split_by"]
        names = repeat(None) if named is None else _column(table, shard, "split_from", named, first)
        for place, (values, name) in enumerate(zip(zip(*columns.values(), strict=True), names, strict=False)):
            row = dict(zip(columns, values, strict=True))
            identity = int(digest.of_bytes(json.dumps(values, default=str).encode())[:16], 16)
            texts = (row[settings.source], row[settings.target])
            for key, text in zip(SIDES, texts, strict=True):
                _require_text(text, shard, key, keys[key], first + place)
            split = None if named is None else named_split(name, named, shard.path, first + place)
            yield Row(first + place, split_of(str(row[by]), settings, split), identity, texts)
        first += table.num_rows


def _column(table: pa.Table, shard: Shard, key: str, name: str, first: int) -> list[Any]:
    if name not in table.column_names:
        raise UserError(
            f"preprocessing.{key}: {shard.path} has no column {name!r}; its columns are {', '.join(table.column_names)}"
        )
    values: list[Any] = table.column(name).to_pylist()
    if None in values:
        raise UserError(f"preprocessing.{key}: {shard.path} row {first + values.index(None)}: column {name!r} is null")
    return values


def _require_text(text: Any, shard: Shard, key: str, name: str, number: int) -> None:
    if not isinstance(text, str):
        kind = type(text).__name__
        raise UserError(f"preprocessing.{key}: {shard.path} row {number:,}: column {name!r} holds {kind}, not text")


def _left_out(row: Row, shard: Shard, settings: TranslationPreprocessing) -> str:
    """Return why a row is not in the corpus, before its texts are encoded; empty where it may be."""
    for side, name, text in zip(SIDES, (settings.source, settings.target), row.texts, strict=True):
        if not text.strip():
            if settings.empty_text == "refuse":
                raise UserError(
                    f"preprocessing.{side}: {shard.path} row {row.number:,} has an empty {name!r}; mend the data, or "
                    "set preprocessing.empty_text: drop"
                )
            return "empty"
    # A higher share keeps the rows of a lower one.
    is_paired = row.split != "train" or digest.fraction(f"paired:{row.identity:016x}") < settings.paired
    return "" if is_paired else "unpaired"


def _require_dropped(settings: TranslationPreprocessing, shard: Shard, row: Row, length: int) -> None:
    if settings.long_text == "refuse":
        raise UserError(
            f"preprocessing.sequence_length: {shard.path} row {row.number:,} has a text of more than {length} tokens; "
            "raise it, or set preprocessing.long_text: drop"
        )
