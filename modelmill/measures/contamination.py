"""Held-out examples that are in the training split too: what a model knows of them is no evidence."""

import hashlib
import itertools
from collections.abc import Iterator
from typing import Any


def of_tokens(held_out: Any, training: Any) -> set[int]:
    """Return the numbers of the held-out documents, or pairs, whose tokens are those of a training one."""
    hashes = list(_hashes(held_out))
    seen = set(hashes).intersection(_hashes(training))
    return {number for number, one in enumerate(hashes) if one in seen}


def _hashes(examples: Any) -> Iterator[bytes]:
    for shard in examples.shards:
        tokens = memoryview(shard.tokens).cast("B")
        size = shard.tokens.itemsize
        bounds = (shard.offsets * size).tolist()
        for begin, end in itertools.pairwise(bounds):
            yield hashlib.sha256(tokens[begin:end]).digest()
