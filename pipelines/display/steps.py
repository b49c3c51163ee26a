"""What a person sees: progress while a run goes on, and the tables at its end."""

import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from modelmill.core import units
from modelmill.pipelines.planning.estimates import total as sums
from modelmill.pipelines.planning.plan import Planned
from modelmill.recipe.step_specs import STEPS
from modelmill.runtime.run_records import Estimate, StepRecord

LINE_SECONDS = 5.0
STYLE = {"ran": "green", "reused": "cyan", "failed": "red", "running": "yellow", "will run": "yellow"}


class Bars(AbstractContextManager["Bars"]):
    """One bar a step, on a terminal."""

    def __init__(self, console: Console) -> None:
        self.progress = Progress(
            TextColumn("{task.description:<16}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self.tasks: dict[str, Any] = {}
        self.ended: set[str] = set()

    def __enter__(self) -> "Bars":
        self.progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.progress.stop()

    def watch(self, records: list[StepRecord]) -> None:
        for record in records:
            if record.name not in self.tasks:
                self.tasks[record.name] = self.progress.add_task(record.name, total=1, text="")
            task = self.tasks[record.name]
            if record.status == "running":
                at = record.progress
                done, total, text = (at.done, at.total, at.text) if at else (0, 1, "starting")
                self.progress.update(task, completed=done, total=max(total, 1), text=escape(text))
            elif record.name not in self.ended:
                self.ended.add(record.name)
                text = record.problem.message if record.problem else record.headline
                short = escape(text if len(text) <= 60 else text[:57] + "...")
                label = f"[{STYLE[record.status]}]{record.status}[/] {short}"
                done = 1 if record.status != "failed" else 0
                self.progress.update(task, completed=done, total=1, text=label)
                self.progress.stop_task(task)


class Lines(AbstractContextManager["Lines"]):
    """Plain lines, where there is no terminal: one at each change, and one every few seconds between."""

    def __init__(self) -> None:
        self.last: dict[str, str] = {}
        self.printed = 0.0

    def __exit__(self, *exception: object) -> None:
        return None

    def watch(self, records: list[StepRecord]) -> None:
        for record in records:
            changed = self.last.get(record.name) != record.status
            due = record.status == "running" and time.monotonic() - self.printed >= LINE_SECONDS
            if not changed and not due:
                continue
            self.last[record.name] = record.status
            self.printed = time.monotonic()
            print(_line(record), file=sys.stderr, flush=True)


def watcher(console: Console) -> Bars | Lines:
    return Bars(console) if console.is_terminal else Lines()


def run_table(console: Console, summary: dict[str, Any]) -> None:
    """The short table at the end of a run, the model and the report."""
    steps = {step["name"]: step for step in summary["steps"]}
    table = Table(title=None, box=None, pad_edge=False)
    for heading in ("step", "status", "seconds", ""):
        table.add_column(heading, justify="right" if heading == "seconds" else "left", overflow="fold")
    for name in STEPS:
        step = steps.get(name)
        status = step["status"] if step else "not run"
        seconds = f"{step['seconds']:.1f}" if step else ""
        headline = escape(step["headline"]) if step else ""
        table.add_row(name, f"[{STYLE.get(status, 'dim')}]{status}[/]", seconds, headline)
    console.print(table)
    if model := summary["model"]:
        alias = f"@{model['alias']}" if model.get("alias") else "no alias"
        console.print(f"model   {model['name']} version {model['version']} {alias}", highlight=False)
    if report := summary["report"]:
        console.print(f"report  {_short_path(report)}", highlight=False, soft_wrap=True)


def _short_path(uri: str) -> str:
    """A file from here where it is below this folder, else its path; another URI as it is."""
    if not uri.startswith("file://"):
        return uri
    path = Path(unquote(uri.removeprefix("file://")))
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def plan_table(console: Console, planned: list[Planned]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("step", "status", "why"):
        table.add_column(heading, overflow="fold")
    for step in planned:
        table.add_row(step.name, f"[{STYLE[step.status]}]{step.status}[/]", escape(step.reason))
    console.print(table)


def cost_table(console: Console, estimates: dict[str, Estimate]) -> None:
    """What the training steps that will run are expected to cost, and what the times are based on."""
    if not estimates:
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("training")
    unit = next(iter(estimates.values())).unit
    for heading in ("parameters", unit, "FLOPs", "device time"):
        table.add_column(heading, justify="right")
    for name, cost in estimates.items():
        table.add_row(name, *map(_known, (cost.parameters, cost.amount, cost.model_flops)), _time(cost.device_hours))
    total = sums(estimates)
    table.add_row("total", "", "", _known(total["model_flops"]), _time(total["device_hours"]))
    console.print()
    console.print(table)
    for name, cost in estimates.items():
        console.print(f"{name}: {cost.basis}", markup=False, highlight=False)


def _known(value: float | None) -> str:
    return "unknown" if value is None else units.prefixed(value)


def _time(hours: float | None) -> str:
    return "unknown" if hours is None else units.of_seconds(hours * 3600)


def _line(record: StepRecord) -> str:
    if record.status == "running":
        at = record.progress
        return (
            f"{record.name}: {at.text} ({at.done:g} of {at.total:g})"
            if at and at.total > 1
            else f"{record.name}: running"
        )
    ended = f"{record.name}: {record.status} in {record.seconds:.1f} s"
    return ended if record.problem else f"{ended}: {record.headline}"  # the problem is said once, at the end
