"""Encoded shards in the store, keyed by what made them, so that one new shard costs one shard."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from modelmill.core import digest
from modelmill.corpus import processes
from modelmill.data.columns import SCHEMA
from modelmill.data.shard import Shard
from modelmill.recipe.step_specs import DATASET
from modelmill.runtime.step_runtime import Step
from modelmill.store import KeyNotFound, blobs, manifest
from modelmill.store.manifest import Entry

Job = tuple[Any, ...]
Work = Callable[..., tuple[dict[str, Path], dict[str, dict[str, Any]]]]


class Encoded(NamedTuple):
    """The encoded form of one shard.

    Attributes:
        entries: Its arrays as files `SPLIT/KIND.npy`.
        counts: Counts of what it holds, by split.
    """

    entries: list[Entry]
    counts: dict[str, dict[str, Any]]

    def numbered(self, number: int) -> list[Entry]:
        """Return the entries as files of the shard with this number, such as `train/00003.documents.tokens.npy`."""
        names = ((entry, *entry.path.rpartition("/")) for entry in self.entries)
        return [e.model_copy(update={"path": f"{folder}/{number:05d}.{name}"}) for e, folder, _, name in names]


class ShardCache:
    """What was encoded with the step's code, its settings and one fitted tokenizer or scaler."""

    def __init__(self, step: Step, fitted: str, unread: frozenset[str] = frozenset()) -> None:
        """Open the cache of a step.

        Args:
            step: The running step.
            fitted: Digest of the tokenizer or scaler that shards are encoded with, or a name for work that needs none.
            unread: Settings that make no difference.
        """
        self.store = step.store
        settings = step.recipe.preprocessing.model_dump(
            mode="json", by_alias=True, exclude={"fit", "tokenizer", *unread}
        )
        # A shard's values are others where the shards' common types are.
        schema = step.inputs[DATASET].info[SCHEMA]
        # Whether the data lacks a split is known only when all of it was read.
        drawn = {"drawn": sorted(step.recipe.preprocessing.drawn)} if step.recipe.preprocessing.drawn else {}
        self.made_with = drawn | {
            "code": step.document["code"],
            "settings": settings,
            "fitted": fitted,
            "schema": schema,
        }

    def find(self, sha256: str) -> Encoded | None:
        """Return the encoded shard with these bytes, or None if it was not encoded or one of its arrays is gone."""
        try:
            document = json.loads(self.store.get(self._key(sha256)))
        except KeyNotFound:
            return None
        entries = [Entry.model_validate(entry) for entry in document["entries"]]
        if any(self.store.size(blobs.key_of(entry.sha256)) != entry.bytes for entry in entries):
            return None
        return Encoded(entries, document["counts"])

    def each(
        self,
        step: Step,
        validated: list[tuple[Shard, str]],
        keys: Sequence[str],
        work: Work,
        jobs: Sequence[Job],
        what: str,
    ) -> tuple[list[Encoded], int]:
        """Return what `work` makes of each shard, and how many shards were not kept before.

        Args:
            step: The running step.
            validated: The shards, each with the sha256 that was validated.
            keys: Cache key of each shard.
            work: Writes what it makes of a shard into a folder. It is called with the shard, its sha256, the folder and
                the job, and returns the files by their names and counts; a function of a module, or a `partial` of one.
            jobs: More arguments, for each shard.
            what: The noun for what is made, for people.
        """
        known = {key: self.find(key) for key in keys}
        new = {key: number for number, key in enumerate(keys) if known[key] is None}
        folders = {key: step.scratch / what / key for key in new}
        calls = [(*validated[number], folders[key], *jobs[number]) for key, number in new.items()]
        size = sum(shard.bytes for shard, *_ in calls)
        for done, (key, made) in enumerate(zip(new, processes.each(work, calls, size), strict=True)):
            known[key] = self.keep(key, *made, counts_rows=True)
            shutil.rmtree(folders[key])  # the store has it now, and disks are no larger than they must be
            step.progress(done + 1, len(new) + 1, what)
        return [encoded for key in keys if (encoded := known[key])], len(new)

    def keep(
        self, sha256: str, files: dict[str, Path], counts: dict[str, dict[str, Any]], counts_rows: bool = False
    ) -> Encoded:
        """Store a shard's arrays, then the document that names them.

        Args:
            sha256: Cache key of the shard.
            files: The arrays by their names.
            counts: Counts of what they hold, by split.
            counts_rows: Whether entries say how long arrays are.
        """
        entries = [
            manifest.add_file(self.store, file, name, rows=_length(file) if counts_rows else None)
            for name, file in sorted(files.items())
        ]
        document = {"entries": [entry.model_dump() for entry in entries], "counts": counts}
        self.store.put(self._key(sha256), digest.canonical_json(document))
        return Encoded(entries, counts)

    def _key(self, sha256: str) -> str:
        return f"encoded/{digest.of_json({'shard': sha256, **self.made_with})}.json"


def _length(file: Path) -> int | None:
    return len(np.load(file, mmap_mode="r", allow_pickle=False)) if file.suffix == ".npy" else None
