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


def cut_last(rows: list[list[str]], width: int) -> list[list[str]]:
    """Return the cells of a table's rows, with the last of each cut so that a row is one line of a terminal.

    Args:
        rows: The rows with their heading, as text without markup.
        width: Columns of the terminal.
    """
    from rich.cells import cell_len
    from rich.text import Text

    others = [max(map(cell_len, column)) for column in zip(*rows, strict=True)][:-1]
    # Two columns apart, as a table without a box is.
    room = max(width - sum(others) - 2 * len(others), 1)

    def cut(cell: str) -> str:
        text = Text(cell)
        text.truncate(room, overflow="ellipsis")
        return text.plain

    return [[*row[:-1], cut(row[-1])] for row in rows]
