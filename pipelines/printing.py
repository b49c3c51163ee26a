"""The two ways out of every command: one JSON object for machines, one line for people."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


def complain(message: str) -> None:
    """A line on standard error, as it is: neither wrapped nor read as markup."""
    Console(stderr=True).print(f"modelmill: {message}", markup=False, highlight=False, soft_wrap=True)
