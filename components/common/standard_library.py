"""Python's standard library: text that every installation has."""

import sysconfig
from collections.abc import Iterator
from pathlib import Path

from components.common.errors import UserError

# Installed packages differ from machine to machine; tests are large and unlike the code that people write.
_SKIPPED_FOLDERS = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
# How this Python was built, with the paths of the machine that built it.
_BUILD_SETTINGS = ("_sysconfigdata", "config-")


def sources() -> dict[str, str]:
    """The text of each source file by its POSIX path, in order; without those that are empty or not UTF-8.

    Raises:
        UserError: there are none on this machine.
    """
    library = Path(sysconfig.get_path("stdlib"))
    texts = {file.relative_to(library).as_posix(): _text(file) for file in _files(library)}
    found = {path: text for path, text in texts.items() if text is not None and text.strip()}
    if not found:
        raise UserError(f"{library}: no sources of Python's standard library; install them or use data of your own")
    return found


def _files(library: Path) -> Iterator[Path]:
    for file in sorted(library.rglob("*.py")):
        parts = file.relative_to(library).parts
        if file.is_file() and not _SKIPPED_FOLDERS & set(parts[:-1]) and not parts[0].startswith(_BUILD_SETTINGS):
            yield file


def _text(file: Path) -> str | None:
    try:
        return file.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return None
