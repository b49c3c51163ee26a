"""What the registry holds, as tables for people."""

import time
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from modelmill.champion.champion_state import Decision
from modelmill.champion.promotion import Settled
from modelmill.pipelines.display.text import print_json, printable
from modelmill.pipelines.models import differences

MOST_SHARDS = 5
STYLE = {"promoted": "green", "registered": "cyan", "refused": "yellow", "rolled back": "red"}


def show_models(rows: list[dict[str, Any]]) -> None:
    """Print one row a model."""
    shown = _table("Model", "Champion", "Challenger", "Previous", "Withdrawn", "Versions", "Imported from")
    for row in rows:
        numbers = [row[role] or "" for role in ("champion", "challenger", "previous")]
        cells = [", ".join(row["withdrawn"]), str(len(row["versions"])), row["imported_from"] or ""]
        shown.add_row(row["model"], *numbers, *map(printable, cells))
    Console().print(shown)


def show_versions(rows: list[dict[str, Any]]) -> None:
    """Print one row a version."""
    shown = _table("Version", "Registered", "Aliases", "Verified", "Metrics")
    for row in rows:
        aliases = [f"@{alias}" for alias in row["aliases"]] + ["withdrawn"] * row["withdrawn"]
        cells = [row["version"], _time(row["created"]), " ".join(aliases), "yes" if row["verified"] else "no"]
        shown.add_row(*map(Text, [*cells, _metrics(row["metrics"])]))
    Console().print(shown)


def show_version(version: dict[str, Any]) -> None:
    """Print what one version is, and every decision about it."""
    shown = Table.grid(padding=(0, 2))
    facts = {
        "model": f"{version['model']} version {version['version']}",
        "aliases": " ".join(f"@{alias}" for alias in version["aliases"]) or "none",
        "registered": _time(version["created"]),
        "verified": "yes, every file was read back" if version["verified"] else "no",
        "metrics": _metrics(version["metrics"]),
        **{f"tag {name}": value for name, value in sorted(version["tags"].items()) if name.startswith("modelmill.")},
    }
    for name, value in facts.items():
        shown.add_row(name, Text(printable(value)))
    console = Console()
    console.print(shown)
    console.print()
    show_decisions([Decision(**entry) for entry in version["decisions"]])


def show_decisions(entries: list[Decision]) -> None:
    """Print one row a decision."""
    shown = _table("When", "What", "Version", "Against", "Who", "Why")
    for entry in entries:
        told = [entry.version or "", entry.against or "", printable(entry.who), printable(entry.reason)]
        shown.add_row(_time(entry.when), Text(entry.what, STYLE[entry.what]), *map(Text, told))
    Console().print(shown)


def show_differences(a: str, b: str, between: dict[str, Any]) -> None:
    """Print one table of settings, data, metrics and code; a part that is equal is not in it."""
    shown = _table("What", "Key", f"Version {a}", f"Version {b}")
    for what in ("settings", "metrics", "code"):
        if between[what] is None:
            shown.add_row(what, differences.GONE, "", "")
        for key, old, new in between[what] or []:
            shown.add_row(what, *map(Text, (printable(key), _value(old), _value(new))))
    data = between["data"]
    if data is None:
        shown.add_row("data", differences.GONE, "", "")
    elif any(data[how] for how in ("added", "removed", "changed")) or data["rows"][0] != data["rows"][1]:
        shown.add_row("data", "rows", *(_value(rows) for rows in data["rows"]))
        for how in ("removed", "changed", "added"):
            if data[how]:
                named = ", ".join(printable(path) for path in data[how][:MOST_SHARDS])
                more = f" and {len(data[how]) - MOST_SHARDS} more" if len(data[how]) > MOST_SHARDS else ""
                shown.add_row("data", f"shards {how}", *map(Text, (str(len(data[how])), named + more)))
    Console().print(shown if shown.row_count else f"nothing differs between versions {a} and {b}")


def tell_champion(model: str, settled: Settled, as_json: bool) -> None:
    """Say which version is the champion after a person's decision."""
    now, decided = settled
    assert now.champion is not None
    if as_json:
        print_json({"model": model, **now.model_dump(), "decision": decided.model_dump() if decided else None})
    elif decided is None:
        print(f"{model}: version {now.champion.version} is the champion already")
    else:
        place = f" in place of version {decided.against}" if decided.against else ""
        print(f"{model}: version {now.champion.version} is the champion{place}")


def _table(*headings: str) -> Table:
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        shown.add_column(heading, overflow="fold")
    return shown


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _metrics(metrics: dict[str, Any] | None) -> str:
    if metrics is None:
        return differences.GONE
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items() if isinstance(value, int | float))


def _value(value: Any) -> str:
    text = "" if value is None else f"{value:,.6g}" if isinstance(value, float) else str(value)
    return printable(text if len(text) <= 60 else text[:57] + "...")
