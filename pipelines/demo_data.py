"""Data for the recipes that ship, made from what every installation has or, for pictures, from a package."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from modelmill.core.errors import UserError
from modelmill.recipe import task_packages

# Shards, which another number of them leaves behind.
_NUMBERED = "*-[0-9][0-9][0-9][0-9][0-9].*"


def known() -> dict[str, Callable[[int], dict[str, bytes]]]:
    """Return, by the name of its recipe, the function that makes a demo's files, given the number of shards."""
    return {n: make for task in task_packages.packages() for n, make in task_packages.demos(task).DEMOS.items()}


def write(name: str, folder: Path, shards: int = 8) -> list[Path]:
    """Write the demo data of a recipe, except for what is there already; return its files.

    Args:
        name: The recipe's name.
        folder: The folder to write to.
        shards: How many shards to make.

    Raises:
        UserError: No such demo, no standard library sources on this machine, or the folder cannot be written.
    """
    demos = known()
    if name not in demos:
        raise UserError(f"{name}: no demo data of this name; there is {', '.join(demos)}")
    files = demos[name](shards)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, data in files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            _write_whole(folder / file, data)
        for stale in set(folder.glob(_NUMBERED)) - {folder / file for file in files}:
            stale.unlink()  # from another number of shards: its rows are in the others now
    except OSError as error:
        raise UserError(f"{folder}: demo data cannot be written ({error.strerror})") from error
    return [folder / file for file in files]


def _write_whole(file: Path, data: bytes) -> None:
    """Write a file whole or not at all; it keeps its time when its bytes are the same."""
    if file.is_file() and file.read_bytes() == data:
        return
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".", delete=False) as temporary:
        try:
            temporary.write(data)
            temporary.flush()
            os.fsync(temporary.fileno())
            Path(temporary.name).chmod(0o644)
            Path(temporary.name).replace(file)
        except BaseException:
            Path(temporary.name).unlink(missing_ok=True)
            raise
