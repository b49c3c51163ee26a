"""Output that commands have in common: one JSON object for machines, lines for people, files."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from modelmill.core.errors import UserError


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    print(json.dumps(value, indent=2))


def complain(message: str) -> None:
    """Print a line on standard error, with the program's name before it."""
    print(f"modelmill: {message}", file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """Return text of the data for a terminal: what would move the cursor or change colours is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@contextmanager
def writing(where: str) -> Iterator[None]:
    """Turn a failure to write a file inside the block into one line for the user.

    Args:
        where: The option and the file, such as `--output page.html`.

    Raises:
        UserError: The file cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{where}: cannot be written ({error.strerror})") from error
