"""Progress of runs and commands: bars on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from modelmill.core.errors import Preempted
from modelmill.pipelines.display.steps import STYLE
from modelmill.runtime.run_records import GOES_ON, StepRecord, goes_on

LINE_SECONDS = 5.0


class Bars(AbstractContextManager["Bars"]):
    """Bars on a terminal, one a step."""

    def __init__(self, console: Console, tries_again: bool = False) -> None:
        """Make bars on a console; entering the context shows them.

        Args:
            console: The console.
            tries_again: Whether the run tries preempted steps again.
        """
        self.tries_again = tries_again
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
        """Show the bars."""
        self.progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the bars as they are."""
        self.progress.stop()

    def watch(self, records: list[StepRecord]) -> None:
        """Show the steps' records as they are now."""
        for record in records:
            if record.name not in self.tasks:
                self.tasks[record.name] = self.progress.add_task(record.name, total=1, text="")
            task = self.tasks[record.name]
            if record.status == "running":
                at = record.progress
                done, total, text = (at.done, at.total, at.text) if at else (0, 1, "starting")
                self.ended.discard(record.name)
                self.progress.update(task, completed=done, total=max(total, 1), text=escape(text))
            elif self.tries_again and goes_on(record):
                self.progress.update(task, text=f"[{STYLE[GOES_ON]}]{GOES_ON}[/]")
            elif record.name not in self.ended:
                self.ended.add(record.name)
                text = record.problem.message if record.problem else record.headline
                short = escape(text if len(text) <= 60 else text[:57] + "...")
                label = f"[{STYLE[record.status]}]{record.status}[/] {short}"
                done = 1 if record.status in ("ran", "reused") else 0
                self.progress.update(task, completed=done, total=1, text=label)
                self.progress.stop_task(task)


class Lines(AbstractContextManager["Lines"]):
    """Plain lines, where there is no terminal: each change of a step's status, and its progress every few seconds."""

    def __init__(self, tries_again: bool = False) -> None:
        """Begin with nothing printed.

        Args:
            tries_again: Whether the run tries preempted steps again.
        """
        self.tries_again = tries_again
        self.statuses: dict[str, str] = {}
        self.lines: dict[str, str] = {}
        self.printed = 0.0

    def __exit__(self, *exception: object) -> None:
        """Do nothing: each line was flushed."""
        return None

    def watch(self, records: list[StepRecord]) -> None:
        """Print what has changed since the last call."""
        for record in records:
            line = _line(record, self.tries_again)
            changed = self.statuses.get(record.name) != record.status
            due = record.status == "running" and time.monotonic() - self.printed >= LINE_SECONDS
            if changed or (due and self.lines[record.name] != line):
                self.statuses[record.name], self.lines[record.name] = record.status, line
                self.printed = time.monotonic()
                print(line, file=sys.stderr, flush=True)


def watcher(tries_again: bool = False) -> Bars | Lines:
    """Return what shows the steps of a run on standard error: bars on a terminal, else lines.

    Args:
        tries_again: Whether the run tries preempted steps again, as one on a cluster does.
    """
    console = Console(stderr=True)
    return Bars(console, tries_again) if console.is_terminal else Lines(tries_again)


@contextmanager
def bar(title: str, total: int, is_shown: bool = True) -> Iterator[Callable[[int], None]]:
    """Show a bar on a terminal while the block runs; yield what is told how many more are done.

    Args:
        title: What is being done.
        total: How much there is to do.
        is_shown: Whether there is a bar at all.
    """
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not (is_shown and console.is_terminal)) as progress:
        task = progress.add_task(title, total=total)
        yield lambda more: progress.advance(task, more)


def _line(record: StepRecord, tries_again: bool) -> str:
    if record.status == "running":
        at = record.progress
        return (
            f"{record.name}: {at.text} ({at.done:g} of {at.total:g})"
            if at and at.total > 1
            else f"{record.name}: running"
        )
    if tries_again and goes_on(record) and record.problem:
        return f"{record.name}: {GOES_ON}: {Preempted(record.problem.message).done}"
    ended = f"{record.name}: {record.status} in {record.seconds:.1f} s"
    return ended if record.problem else f"{ended}: {record.headline}"  # the problem is said once, at the end
