"""States of scanned shards, kept under what they were made from, so that one new shard costs one shard."""

import json
from pathlib import Path

from modelmill.components.data_validation.merged_metrics import ScannedShard
from modelmill.core import digest
from modelmill.data.shards import Shard
from modelmill.store import KeyNotFound, Store, blobs, manifest
from modelmill.store.manifest import Entry


class ShardStates:
    """What was scanned with this code, in a store.

    Args:
        code: what the scan's code and libraries are, so that a newer compiler does not trust an older one's states.
    """

    def __init__(self, store: Store, code: dict[str, str], scratch: Path) -> None:
        self._store, self._code, self._scratch = store, code, scratch

    def find(self, shard: Shard, todo: str) -> ScannedShard | None:
        """The shard with this content, if it was scanned for this plan and every tally is still there."""
        try:
            found = json.loads(self._store.get(self._key(shard, todo)))
        except KeyNotFound:
            return None
        entries = [Entry.model_validate(entry) for entry in found["tallies"]]
        if any(self._store.size(blobs.key_of(entry.sha256)) != entry.bytes for entry in entries):
            return None
        return ScannedShard(found["state"], manifest.fetch(self._store, entries, self._scratch / todo / shard.tag))

    def keep(self, shard: Shard, todo: str, scanned: ScannedShard) -> None:
        """Store the tallies, then the state that names them."""
        entries = [manifest.add_file(self._store, file, name) for name, file in sorted(scanned.files.items())]
        document = {"state": scanned.state, "tallies": [entry.model_dump() for entry in entries]}
        self._store.put(self._key(shard, todo), digest.canonical_json(document))

    def _key(self, shard: Shard, todo: str) -> str:
        # A text shard's path is one of its columns.
        name = shard.path if shard.format == "text" else None
        media = [shard.media.kind, shard.media.corrupt] if shard.media else None
        content = [shard.tag, shard.bytes, shard.format, shard.compression, name, media]
        return f"states/{digest.of_json({'shard': content, 'plan': todo, 'code': self._code})}.json"
