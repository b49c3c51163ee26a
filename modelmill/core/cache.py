"""What a user's machine keeps from run to run to save time; nothing is lost with it."""

import os
from pathlib import Path


def folder() -> Path:
    """Return the folder of this user's cache, which may not be there: below `XDG_CACHE_HOME`, else `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modelmill"
