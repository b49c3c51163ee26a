"""Checks for people: a line each, with a mark of whether it holds."""

from collections.abc import Iterable

from rich.console import Console


def show(checks: Iterable[tuple[bool, str]]) -> None:
    """Print a line for each check: whether it holds, and what it says."""
    console = Console()
    for holds, line in checks:
        console.print("[green]ok  [/]" if holds else "[red]bad [/]", end=" ")
        console.print(line, markup=False, highlight=False, soft_wrap=True)
