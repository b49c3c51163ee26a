"""Files of this user: who may read them, and temporary folders that a killed process has left."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISDIR

_LOCK = ".lock"
# A lock file younger than this may be one that its maker has not locked yet.
_SECONDS_TO_LOCK = 60
# Only asked by setting another, which must not happen while a thread writes: so at once.
_UMASK = os.umask(0o077)
os.umask(_UMASK)


def private_mode(most: int = 0o640) -> int:
    """Return the mode of a new file: what the umask leaves of `most`."""
    return most & ~_UMASK


@contextlib.contextmanager
def scratch_folder(name: str) -> Iterator[Path]:
    """Give a temporary folder; this user's of the same name whose processes were killed are removed.

    A process holds a lock in its folder, which ends with it, however it ends and wherever it runs.

    Args:
        name: What it is for.
    """
    prefix = f"modelmill-{name}-"
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        _remove_unless_held(left)
    # What is interrupted may write on for a moment while its folder goes.
    with (
        tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder,
        open(Path(folder, _LOCK), "wb") as lock,
    ):
        with contextlib.suppress(OSError):  # a file system without locks: nobody removes it then
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield Path(folder)


def _remove_unless_held(folder: Path) -> None:
    """Remove a folder of this user that no process holds; a link, or another user's, is left."""
    with contextlib.suppress(OSError):  # gone meanwhile, without a lock, or held
        status = folder.lstat()
        if S_ISDIR(status.st_mode) and status.st_uid == os.getuid():
            with open(folder / _LOCK, "rb") as lock:
                if time.time() - os.fstat(lock.fileno()).st_mtime < _SECONDS_TO_LOCK:
                    return
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
