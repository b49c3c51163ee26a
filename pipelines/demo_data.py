"""Data for the recipes that ship, made from what every installation has: no download."""

import json
import os
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from components.common.digest import fraction
from components.common.errors import UserError

# Installed packages differ from machine to machine; tests are large and unlike the code that people write.
_SKIPPED_FOLDERS = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
# How this Python was built, with the paths of the machine that built it.
_BUILD_SETTINGS = ("_sysconfigdata", "config-")


def write(name: str, folder: Path, shards: int = 8) -> list[Path]:
    """Write the demo data of a recipe; returns its files. Running it again writes nothing that is there already.

    `python-lm`: the sources of Python's standard library, a JSON object a file with path, text, module and bytes.
    `tabular-mlp`: two species of Fisher's iris with two petal lengths, 100 rows.

    Raises:
        UserError: no such demo, no standard library sources on this machine, or the folder cannot be written.
    """
    if name not in _DEMOS:
        raise UserError(f"{name}: no demo data of this name; there is {', '.join(_DEMOS)}")
    files = _DEMOS[name](shards)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, data in files.items():
            _write_whole(folder / file, data)
        for stale in set(folder.glob("stdlib-*.jsonl")) - {folder / file for file in files}:
            stale.unlink()  # from another number of shards: its rows are in the others now
    except OSError as error:
        raise UserError(f"{folder}: demo data cannot be written ({error.strerror})") from error
    return [folder / file for file in files]


def _python_lm(shards: int) -> dict[str, bytes]:
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


def _tabular_mlp(shards: int) -> dict[str, bytes]:
    """Small enough for one file, whatever `shards` says."""
    from sklearn.datasets import load_iris

    iris = load_iris()
    names = [str(iris.target_names[target]) for target in iris.target]
    kept = [(row, name) for row, name in zip(iris.data, names, strict=True) if name != "setosa"]
    lines = [f"{i},{row[2]:.1f},{row[3]:.1f},{name}" for i, (row, name) in enumerate(kept)]
    return {"iris.csv": ("\n".join(["id,petal_length,petal_width,species", *lines]) + "\n").encode()}


def _write_whole(file: Path, data: bytes) -> None:
    """The file appears whole or not at all, and keeps its time when its bytes are the same."""
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


_DEMOS: dict[str, Callable[[int], dict[str, bytes]]] = {"python-lm": _python_lm, "tabular-mlp": _tabular_mlp}
