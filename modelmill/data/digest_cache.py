"""Digests of files on disk, kept from run to run: a file whose status has not changed is not read again.

An entry is trusted as git trusts its index: while the file's size, times and inode are those that it was read with. A
file that was written just before it was read is not kept, as its times might not tell a second write from the first.
"""

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from modelmill.core import cache, digest

# Times of files may be as coarse as this, in nanoseconds.
_RACY = 2_000_000_000
_TABLE = "CREATE TABLE IF NOT EXISTS digests (path TEXT PRIMARY KEY, status TEXT NOT NULL, sha256 TEXT NOT NULL)"
_WRITE = "INSERT OR REPLACE INTO digests VALUES (?, ?, ?)"
_READ = "SELECT sha256 FROM digests WHERE path = ? AND status = ?"
T = TypeVar("T")


def of_file(path: Path) -> str:
    """Return the sha256 of a file, from the cache while the file is unchanged.

    Args:
        path: An absolute path.

    Raises:
        OSError: The file cannot be read.
    """
    before = _status(path)
    known = _with_database(lambda database: database.execute(_READ, (str(path), before)).fetchone())
    if known is not None:
        return str(known[0])
    sha256 = digest.of_file(path)
    remember(path, before, sha256)
    return sha256


def status(path: Path) -> str:
    """Return what tells whether a file was written to: size, times of content and of status, inode.

    Raises:
        OSError: The file is gone.
    """
    return _status(path)


def remember(path: Path, before: str, sha256: str) -> None:
    """Keep the digest of a file that was read whole.

    Args:
        path: An absolute path.
        before: The file's status before it was read.
        sha256: The digest of its bytes.
    """
    with contextlib.suppress(OSError):
        if _status(path) == before and time.time_ns() - _newest(path) > _RACY:
            _with_database(lambda database: database.execute(_WRITE, (str(path), before, sha256)))


def _status(path: Path) -> str:
    known = path.stat()
    return f"{known.st_size} {known.st_mtime_ns} {known.st_ctime_ns} {known.st_ino} {known.st_dev}"


def _newest(path: Path) -> int:
    known = path.stat()
    return max(known.st_mtime_ns, known.st_ctime_ns)


_local = threading.local()


def _with_database(work: Callable[[sqlite3.Connection], T]) -> T | None:
    """Do something with the cache; a cache that cannot be used is as an empty one."""
    try:
        with _connection() as database:
            return work(database)
    except (OSError, sqlite3.Error):
        return None


def _connection() -> sqlite3.Connection:
    """Return this thread's connection; SQLite's are of one thread and of one process."""
    owner = (os.getpid(), _file())
    if getattr(_local, "owner", None) != owner:
        owner[1].parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        database: Any = sqlite3.connect(owner[1], timeout=10)
        database.execute("PRAGMA synchronous=OFF")
        database.execute(_TABLE)
        _local.owner, _local.database = owner, database
    connection: sqlite3.Connection = _local.database
    return connection


def _file() -> Path:
    return cache.folder() / "digests.db"
