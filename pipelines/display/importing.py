"""What an import says while it works, and at its end."""

import sys
import time
from collections.abc import Callable

from modelmill.core.units import of_bytes
from modelmill.pipelines.display.progress import LINE_SECONDS
from modelmill.pipelines.display.text import printable
from modelmill.pipelines.models.importing import Imported


def teller() -> Callable[[int, int, str], None]:
    """Return what is told how far an import is: it prints a line on standard error every few seconds."""
    printed = time.monotonic()

    def tell(done: int, whole: int, text: str) -> None:
        nonlocal printed
        if time.monotonic() - printed >= LINE_SECONDS:
            printed = time.monotonic()
            size = f" ({of_bytes(done)} of {of_bytes(whole)})" if whole else ""
            print(f"{printable(text)}{size}", file=sys.stderr, flush=True)

    return tell


def show(imported: Imported) -> None:
    """Print what was imported, and how a recipe starts from it."""
    said = imported.to_json()
    state = "imported" if imported.is_new else "was imported before"
    shape = f"{said['parameters']:,} parameters, {said['dtype']}, {of_bytes(said['bytes'])}"
    print(f"{imported.model} version {imported.version} {state}: {shape}")
    print(f"licence: {printable(said.get('licence', 'not named'))}")
    if revision := said.get("revision"):
        print(f"revision: {printable(revision)}")
    print(f"a recipe starts from it with pretraining.init: {said['init']}")
