"""Learning rates that were tried, and the one that is suggested."""

import math
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from modelmill.pipelines.lr_find import headline

MOST_ROWS = 12


def show(curve: dict[str, Any], use: str | None, output: Path) -> None:
    """Print about a dozen of the rates, evenly spread, and what is suggested."""
    rows = curve["rows"]
    table = Table(box=None, pad_edge=False)
    for heading in ("rate", "loss", "smoothed"):
        table.add_column(heading, justify="right")
    for row in rows[:: math.ceil(len(rows) / MOST_ROWS)]:
        table.add_row(f"{row['rate']:.1e}", f"{row['loss']:.3f}", f"{row['smoothed']:.3f}")
    Console().print(table)
    print(headline(curve))
    if use:
        print(f"use    {use}")
    print(f"curve  {output}")
