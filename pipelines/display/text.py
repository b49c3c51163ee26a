"""What the commands have in common: options, and one JSON object for machines or lines for people."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console

DEFAULT_STORE = "file://./.modelmill"
StoreUri = Annotated[
    str, typer.Option("--store", envvar="MODELMILL_STORE", help="file://FOLDER or s3://BUCKET/PREFIX.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override a key of the recipe; may be repeated."),
]
IfChanged = Annotated[
    bool,
    typer.Option("--if-changed", help="Look for new data or drift first (data.retrain); train only for that reason."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


def complain(message: str) -> None:
    """A line on standard error, as it is: neither wrapped nor read as markup."""
    Console(stderr=True).print(f"modelmill: {message}", markup=False, highlight=False, soft_wrap=True)


def printable(text: str) -> str:
    """Text of the data for a terminal: what would move the cursor or change colours is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
