"""Output that commands have in common: one JSON object for machines, lines for people."""

import json
import sys
from typing import Any


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    print(json.dumps(value, indent=2))


def complain(message: str) -> None:
    """Print a line on standard error, with the program's name before it."""
    print(f"modelmill: {message}", file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """Return text of the data for a terminal: what would move the cursor or change colours is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
