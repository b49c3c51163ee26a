"""Digests of a model's files, each read once while it is unchanged."""

import functools
from pathlib import Path

from modelmill.data import digest_cache


def of(file: Path) -> str:
    """Return the sha256 of a file, which may be many gigabytes."""
    path = file.resolve()  # of a link, the file that has a place from process to process
    return _of(path, digest_cache.status(path))


# A file that was just written is not yet in the cache on disk.
@functools.lru_cache(4096)
def _of(path: Path, status: str) -> str:
    return digest_cache.of_file(path)
