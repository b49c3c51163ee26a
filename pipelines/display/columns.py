"""Columns and how they have drifted, as tables for people and as JSON."""

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from modelmill.pipelines.display.text import printable

if TYPE_CHECKING:
    from modelmill.components.data_validation.api import Column, Drift
    from modelmill.components.data_validation.contract import Draft
    from modelmill.corpus.text.conversations.detecting import Detected
    from modelmill.data.layouts.detecting import Found

MOST_VALUES, MOST_CHARACTERS, MOST_MEASURES = 5, 24, 30


def show(draft: "Draft") -> None:
    """Print one row a column: type, share of nulls, smallest and largest value, most frequent values."""
    shown = Table("Column", "Type", box=None, header_style="bold")
    for heading in ("Nulls", "From", "To"):
        shown.add_column(heading, justify="right")
    shown.add_column("Values")
    profile = draft.profile
    for name, column in profile.columns.items():
        nulls = profile.nulls(name) / profile.rows
        unit = " chars" if column.kind == "text" else ""
        bounds = ["" if bound is None else f"{_short(bound)}{unit}" for bound in (column.low, column.high)]
        cells = [printable(name), draft.types.get(name, ""), f"{nulls:.1%}" if nulls else "", *bounds, _values(column)]
        shown.add_row(*map(Text, cells))
    Console().print(shown)


def as_json(draft: "Draft", seen: "Detected | None" = None) -> dict[str, Any]:
    """Return the columns of a draft for machines, with the suite and the format of conversations.

    Args:
        draft: The draft.
        seen: Format of the conversations.
    """
    profile = draft.profile
    columns = [
        {
            "name": name,
            "type": draft.types.get(name),
            "nulls": profile.nulls(name),
            ("shortest" if column.kind == "text" else "low"): column.low,
            ("longest" if column.kind == "text" else "high"): column.high,
            "values": column.values.to_json() if column.kind in ("text", "category") else None,
        }
        for name, column in profile.columns.items()
    ]
    document = {"rows": profile.rows, "columns": columns, "suite": draft.suite}
    if seen:
        document |= {"pairs": {"from": seen.format, "columns": seen.columns}, "malformed": draft.malformed}
    return document


def show_format(draft: "Draft", seen: "Detected") -> None:
    """Print which format the rows have, as settings of a recipe, and how many are not of it."""
    names = ", ".join(f"{standard}: {printable(name)}" for standard, name in seen.columns.items())
    bad = len(draft.malformed)
    print(
        f"the rows look like preprocessing.pairs.from: {seen.format}"
        + (f", pairs.columns: {{{names}}}" if names else "")
        + (f"; {bad:,} of {draft.profile.rows:,} are malformed" if bad else "")
    )


def show_layout(found: "Found") -> None:
    """Print how data lies that are no tables, as settings of a recipe."""
    if found.layout != "table":
        kind = f", media: {found.media}" if found.media else ""
        print(f"the data lies as data: {{layout: {found.layout}{kind}}}")


def show_drift(drift: "Drift") -> None:
    """Print one row a distribution, the one that has moved most first."""
    shown = Table("Column", "Distribution of", box=None, header_style="bold")
    for heading in ("PSI", "Wasserstein"):
        shown.add_column(heading, justify="right")
    shown.add_column("Drifted")
    for one in drift.measures[:MOST_MEASURES]:
        distance = "" if one.wasserstein is None else f"{one.wasserstein:.3f}"
        said = Text("yes", "red") if one.drifted else Text("no", "green")
        shown.add_row(Text(printable(one.column)), one.of, f"{one.psi:.3f}", distance, said)
    Console().print(shown)


def _values(column: "Column") -> str:
    if not column.values.counts:
        return ""
    most = column.values.counts.most_common(MOST_VALUES)
    named = ", ".join(f"{_short(value)} {count / column.valid:.0%}" for value, count in most)
    rest = len(column.values.counts) - len(most)
    return named + (f" and {rest} more" if rest else "")


def _short(value: Any) -> str:
    text = printable(f"{value:,.6g}" if isinstance(value, float) else str(value))
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 3] + "..."
