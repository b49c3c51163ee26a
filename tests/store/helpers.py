"""What several of these tests need."""

from pathlib import Path

# A program that writes, for tests that kill it. Arguments: store URI, key, file.
UPLOAD = """
import sys, pathlib
from modelmill.store import open_store

open_store(sys.argv[1]).upload(sys.argv[2], pathlib.Path(sys.argv[3]))
"""


def names_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())
