"""Python's standard library: text that every installation has."""

import json
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from components.common.digest import fraction
from components.common.errors import UserError

# Installed packages differ from machine to machine; tests are large and unlike the code that people write.
_SKIPPED_FOLDERS = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
# How this Python was built, with the paths of the machine that built it.
_BUILD_SETTINGS = ("_sysconfigdata", "config-")


def python_lm(shards: int) -> dict[str, bytes]:
    """A file's shard is drawn by its path, so that one file more or less changes one shard."""
    library = Path(sysconfig.get_path("stdlib"))
    rows: list[list[str]] = [[] for _ in range(shards)]
    for file in _sources(library):
        path = file.relative_to(library).as_posix()
        row = _row(path, file.read_bytes())
        if row is not None:
            rows[int(fraction(path) * shards)].append(row)
    if not any(rows):
        raise UserError(f"{library}: no sources of Python's standard library; install them or use data of your own")
    return {f"stdlib-{i:05d}.jsonl": "".join(lines).encode() for i, lines in enumerate(rows) if lines}


def _sources(library: Path) -> Iterator[Path]:
    for file in sorted(library.rglob("*.py")):
        parts = file.relative_to(library).parts
        if file.is_file() and not _SKIPPED_FOLDERS & set(parts[:-1]) and not parts[0].startswith(_BUILD_SETTINGS):
            yield file


def _row(path: str, data: bytes) -> str | None:
    """One line of JSON, or None for a file that is empty or not UTF-8."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    if not text.strip():
        return None
    module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return json.dumps({"path": path, "text": text, "module": module, "bytes": len(data)}, ensure_ascii=False) + "\n"


DEMOS = {"python-lm": python_lm}
