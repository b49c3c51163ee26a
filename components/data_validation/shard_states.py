"""The cache of shards' states, keyed by what they were made from, so that one new shard costs one shard."""

import json
from pathlib import Path

from modelmill.components.data_validation.merged_metrics import ScannedShard
from modelmill.core import digest
from modelmill.data import columns
from modelmill.data.shard import Shard
from modelmill.store import KeyNotFound, Store, blobs, manifest
from modelmill.store.manifest import Entry


class ShardStates:
    """The states of shards that were scanned with this code, in a store."""

    def __init__(self, store: Store, code: dict[str, str], scratch: Path) -> None:
        """Open the cache.

        Args:
            store: The store.
            code: Digests of the scan's code and libraries, so that a newer scanner does not trust an older one's
                states.
            scratch: A folder for files of value counts.
        """
        self._store, self._code, self._scratch = store, code, scratch

    def find(self, shard: Shard, todo: str) -> ScannedShard | None:
        """Return the state of the shard with this content, or None.

        Args:
            shard: The shard.
            todo: The name of the pass.

        Returns:
            None if it was not scanned for this pass, or if a file of value counts is gone.
        """
        try:
            document = json.loads(self._store.get(self._key(shard, todo)))
        except KeyNotFound:
            return None
        entries = [Entry.model_validate(entry) for entry in document["value_counts"]]
        if any(self._store.size(blobs.key_of(entry.sha256)) != entry.bytes for entry in entries):
            return None
        return ScannedShard(document["state"], manifest.fetch(self._store, entries, self._scratch / todo / shard.tag))

    def keep(self, shard: Shard, todo: str, scanned: ScannedShard) -> None:
        """Store the files of value counts, then the state that names them."""
        entries = [manifest.add_file(self._store, file, name) for name, file in sorted(scanned.files.items())]
        document = {"state": scanned.state, "value_counts": [entry.model_dump() for entry in entries]}
        self._store.put(self._key(shard, todo), digest.canonical_json(document))

    def _key(self, shard: Shard, todo: str) -> str:
        # The path is a column of a text shard, and tells what a shard of CoNLL is.
        name = shard.path if shard.format in ("text", "conll") else None
        media = [shard.media.kind, shard.media.corrupt] if shard.media else None
        types = columns.packed(shard.schema) if shard.schema is not None else None
        content = [shard.tag, shard.bytes, shard.format, shard.compression, name, media, types, shard.layout]
        return f"states/{digest.of_json({'shard': content, 'plan': todo, 'code': self._code})}.json"
