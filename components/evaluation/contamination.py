"""Held-out examples that are in the training split, too: what a model knows of them is no evidence."""

import hashlib
import itertools
from collections.abc import Iterator
from typing import Any


def of_tokens(held_out: Any, training: Any) -> set[int]:
    """The numbers of the held-out documents, or pairs, whose tokens are those of a training one."""
    wanted: dict[bytes, list[int]] = {}
    for number, found in enumerate(_hashes(held_out)):
        wanted.setdefault(found, []).append(number)
    return {number for found in _hashes(training) for number in wanted.get(found, ())}


def _hashes(examples: Any) -> Iterator[bytes]:
    for shard in examples.shards:
        tokens = memoryview(shard.tokens).cast("B")
        size = shard.tokens.itemsize
        bounds = (shard.offsets * size).tolist()
        for begin, end in itertools.pairwise(bounds):
            yield hashlib.sha256(tokens[begin:end]).digest()
