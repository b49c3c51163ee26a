"""The steps of a run that has ended, as a table for people."""

from pathlib import Path
from typing import Any
from urllib.parse import unquote

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from modelmill.pipelines.display.text import cut_last
from modelmill.recipe.step_specs import LOOK, RECORDED, STEPS
from modelmill.runtime import run_records

STYLE = {
    "ran": "green",
    "reused": "cyan",
    "failed": "red",
    "cancelled": "yellow",
    run_records.GOES_ON: "yellow",
    "running": "yellow",
    "will run": "yellow",
}


def show_run(summary: dict[str, Any]) -> None:
    """Print the table at the end of a run, the model and the report.

    Args:
        summary: The run as `run.summary` describes it.
    """
    console = Console()
    steps = {step["name"]: step for step in summary["steps"]}
    table = Table(title=None, box=None, pad_edge=False)
    rows = [["step", "status", "seconds", ""]]
    for name in RECORDED if LOOK in steps else STEPS:
        step = steps.get(name)
        seconds = f"{step['seconds']:.1f}" if step else ""
        rows.append([name, step["status"] if step else "not run", seconds, step["headline"] if step else ""])
    # A row is a line: why a step failed is told below in full.
    headings, *rows = cut_last(rows, console.width)
    for heading in headings:
        table.add_column(heading, justify="right" if heading == "seconds" else "left", overflow="fold")
    for name, status, seconds, headline in rows:
        table.add_row(name, f"[{STYLE.get(status, 'dim')}]{status}[/]", seconds, escape(headline))
    console.print(table)
    if model := summary["model"]:
        alias = f"@{model['alias']}" if model.get("alias") else "no alias"
        console.print(f"model   {model['name']} version {model['version']} {alias}", highlight=False)
    if report := summary["report"]:
        console.print(f"report  {_short_path(report)}", highlight=False, soft_wrap=True)


def _short_path(uri: str) -> str:
    """Return a file from here where it is below this folder, else its path; another URI as it is."""
    if not uri.startswith("file://"):
        return uri
    path = Path(unquote(uri.removeprefix("file://")))
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
