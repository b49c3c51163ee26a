"""Folders of this user's cache that models are fetched into, one process at a time."""

import atexit
import contextlib
import fcntl
import functools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from modelmill.core import cache


def folder(*parts: str) -> Path:
    """Return a folder of the cache; where the cache cannot be written, one that lives as long as the process.

    Args:
        parts: Path below the cache.
    """
    wanted = cache.folder().joinpath(*parts)
    try:
        wanted.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        wanted = temporary().joinpath(*parts)
        wanted.mkdir(parents=True, exist_ok=True)
    return wanted


@functools.cache
def temporary() -> Path:
    """Return a folder that is removed at the end of the process."""
    made = Path(tempfile.mkdtemp(prefix="modelmill-init-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


@contextlib.contextmanager
def alone(place: Path) -> Iterator[None]:
    """Keep other processes of this machine out of a folder while it is filled.

    Args:
        place: The folder.
    """
    with open(place.with_name(f"{place.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
