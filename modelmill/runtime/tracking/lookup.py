"""Questions to MLflow's registry that its default database answers in a millisecond, without an import of mlflow."""

import contextlib
import sqlite3
from pathlib import Path
from typing import NamedTuple

from modelmill.runtime.tracking.connection import database

_VERSION = "SELECT status, current_stage FROM model_versions WHERE name = ? AND version = ?"
_ALIASES = "SELECT alias FROM registered_model_aliases WHERE name = ? AND version = ? ORDER BY alias"
# How mlflow marks a version that was deleted; its row stays.
_DELETED = "Deleted_Internal"


class RegisteredVersion(NamedTuple):
    """A version in the registry: whether it is there and ready for use, and its aliases."""

    is_ready: bool
    aliases: list[str]


def version(root: Path, name: str, number: str) -> RegisteredVersion | None:
    """Return what the default registry has of a version; None where only mlflow can tell.

    Args:
        root: The folder of the default registry.
        name: The registered model.
        number: The version.
    """
    file = database(root)
    if not number.isdigit() or not file.is_file():
        return None
    try:
        with contextlib.closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
            row = connection.execute(_VERSION, (name, int(number))).fetchone()
            aliases = [alias for (alias,) in connection.execute(_ALIASES, (name, int(number)))]
    except sqlite3.Error:
        return None
    is_ready = row is not None and row[0] == "READY" and row[1] != _DELETED
    return RegisteredVersion(is_ready, aliases if is_ready else [])
