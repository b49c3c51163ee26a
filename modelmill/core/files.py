"""Files of this user: who may read them, and temporary folders that a killed process has left."""

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Only asked by setting another, which must not happen while a thread writes: so at once.
_UMASK = os.umask(0o077)
os.umask(_UMASK)


def private_mode(most: int = 0o640) -> int:
    """Return the mode of a new file: what the umask leaves of `most`."""
    return most & ~_UMASK


@contextlib.contextmanager
def scratch_folder(name: str) -> Iterator[Path]:
    """Give a temporary folder; those of this name whose processes were killed are removed.

    Args:
        name: What it is for, a word of lower-case letters.
    """
    prefix = f"modelmill-{name}-"
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        owner = re.match(rf"{prefix}(\d+)-", left.name)
        if owner and not _lives(int(owner.group(1))) and left.stat().st_uid == os.getuid():
            shutil.rmtree(left, ignore_errors=True)
    # What is interrupted may write on for a moment while its folder goes.
    with tempfile.TemporaryDirectory(prefix=f"{prefix}{os.getpid()}-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
