"""What the registry holds, as rows for machines and tables for people."""

import time
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from modelmill.champion.champion_state import Candidate, Decision, Standing
from modelmill.pipelines.display.text import printable
from modelmill.pipelines.models import differences
from modelmill.runtime.tracking.versions import Version
from modelmill.store import Store

MOST_SHARDS = 5
STYLE = {"promoted": "green", "registered": "cyan", "refused": "yellow", "rolled back": "red"}


def model_row(name: str, now: Standing, found: list[Version]) -> dict[str, Any]:
    return {
        "model": name,
        "champion": _number(now.champion),
        "challenger": _number(now.challenger),
        "previous": _number(now.previous),
        "withdrawn": list(now.withdrawn),
        "versions": [one.version for one in found],
    }


def version_row(store: Store, version: Version, now: Standing) -> dict[str, Any]:
    return {
        "version": version.version,
        "created": version.created,
        "aliases": list(version.aliases),
        "verified": version.is_verified,
        "withdrawn": version.version in now.withdrawn,
        "run_id": version.tags.get("modelmill.run_id"),
        "metrics": differences.metrics(store, version),
    }


def models(rows: list[dict[str, Any]]) -> Table:
    shown = _table("Model", "Champion", "Challenger", "Previous", "Withdrawn", "Versions")
    for row in rows:
        numbers = [row[role] or "" for role in ("champion", "challenger", "previous")]
        shown.add_row(row["model"], *numbers, ", ".join(row["withdrawn"]), str(len(row["versions"])))
    return shown


def versions(rows: list[dict[str, Any]]) -> Table:
    shown = _table("Version", "Registered", "Aliases", "Verified", "Metrics")
    for row in rows:
        aliases = [f"@{alias}" for alias in row["aliases"]] + ["withdrawn"] * row["withdrawn"]
        cells = [row["version"], _time(row["created"]), " ".join(aliases), "yes" if row["verified"] else "no"]
        shown.add_row(*map(Text, [*cells, _metrics(row["metrics"])]))
    return shown


def show_version(console: Console, said: dict[str, Any]) -> None:
    """What one version is, and every decision about it."""
    shown = Table.grid(padding=(0, 2))
    facts = {
        "model": f"{said['model']} version {said['version']}",
        "aliases": " ".join(f"@{alias}" for alias in said["aliases"]) or "none",
        "registered": _time(said["created"]),
        "verified": "yes, every file was read back" if said["verified"] else "no",
        "metrics": _metrics(said["metrics"]),
        **{f"tag {name}": value for name, value in sorted(said["tags"].items()) if name.startswith("modelmill.")},
    }
    for name, value in facts.items():
        shown.add_row(name, Text(printable(value)))
    console.print(shown)
    console.print()
    console.print(decisions([Decision(**entry) for entry in said["decisions"]]))


def decisions(entries: list[Decision]) -> Table:
    shown = _table("When", "What", "Version", "Against", "Who", "Why")
    for entry in entries:
        told = [entry.version or "", entry.against or "", printable(entry.who), printable(entry.reason)]
        shown.add_row(_time(entry.when), Text(entry.what, STYLE[entry.what]), *map(Text, told))
    return shown


def show_differences(console: Console, a: str, b: str, between: dict[str, Any]) -> None:
    """One table of settings, data, metrics and code; a part that is equal is not in it."""
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
    console.print(shown if shown.row_count else f"nothing differs between versions {a} and {b}")


def _table(*headings: str) -> Table:
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        shown.add_column(heading, overflow="fold")
    return shown


def _number(candidate: Candidate | None) -> str | None:
    return candidate.version if candidate else None


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _metrics(metrics: dict[str, Any] | None) -> str:
    if metrics is None:
        return differences.GONE
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items() if isinstance(value, int | float))


def _value(value: Any) -> str:
    text = "" if value is None else f"{value:,.6g}" if isinstance(value, float) else str(value)
    return printable(text if len(text) <= 60 else text[:57] + "...")
