"""Runs on a cluster for people: what was started, how it goes, how it ended."""

import shlex
from pathlib import Path
from typing import Any

from modelmill.pipelines.cluster import pods, waiting
from modelmill.pipelines.cluster.settings import Cluster
from modelmill.pipelines.cluster.submitting import Submitted
from modelmill.pipelines.display import progress, steps
from modelmill.pipelines.display.text import complain, cut_last, print_json, printable

INTERRUPTED = 130
# From this width on a table of runs has all its columns.
WIDE = 120


def tell_started(submitted: Submitted, described: Cluster, cluster: Path, wait: bool, as_json: bool) -> int:
    """Say what was started and return the exit code; with `wait` that of the run, at its end.

    Args:
        submitted: The run.
        described: The cluster.
        cluster: The cluster's file, for the commands that are suggested.
        wait: Follow the run to its end.
        as_json: Print one JSON object.
    """
    if submitted.note:
        complain(f"note: {submitted.note}")
    if as_json and not wait:
        print_json({key: value for key, value in submitted._asdict().items() if key != "write_record"})
    if not as_json:
        print(f"run {submitted.run_id}, version {submitted.version}\n{submitted.link}", flush=True)
        if submitted.left_out:
            print(f"finished before, and left out: {', '.join(submitted.left_out)}", flush=True)
    if wait:
        return _follow(submitted, described, cluster, as_json)
    if not as_json:
        print(f"follow: {suggestion('status', submitted.run_id, cluster)}")
    return 0


def show_runs(runs: list[dict[str, Any]]) -> None:
    """Print a table of runs, one line each, as `following.listed` describes them; fewer columns if narrow."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    if not runs:
        print("no runs yet; start one with modelmill submit RECIPE")
        return
    console, table = Console(), Table(box=None, pad_edge=False)
    is_wide = console.width >= WIDE
    headings = ["run", "state", "created", "name", *(["asked for"] if is_wide else [])]
    headings, *rows = cut_last([headings, *(_cells(run, is_wide) for run in runs)], console.width)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)


def _cells(run: dict[str, Any], is_wide: bool) -> list[str]:
    """Return a row of the table of runs; a name of ours ends with its time, which is not said again."""
    created = (
        (run["created"] or "").replace("T", " ")[:19] if is_wide else (run["created"] or "")[5:16].replace("T", " ")
    )
    cells = [run["run_id"], run["state"] or "", created, (run["name"] or "").split(" ")[0]]
    return [printable(str(cell)) for cell in (*cells, *([run["description"]] if is_wide else []))]


def show(run: dict[str, Any]) -> None:
    """Print one run with its steps, as `pods.explained` describes it."""
    state = f"{run['run_id']}  {run['name']}  {run['state']}"
    print(printable(f"{state}: {run['outcome']}" if run["outcome"] else state))
    if run["description"]:
        print(printable(run["description"]))
    print(run["link"])
    steps.show_run(run)
    if run["waiting_for"]:
        print(printable(f"waiting: {run['waiting_for']}"))
    if run["reason"]:
        print(printable(f"{run['failed_step'] or 'run'}: {run['reason']}"))


def suggestion(verb: str, run_id: str, cluster: Path) -> str:
    """Return a command about a run, for a person to paste."""
    return shlex.join(["modelmill", verb, run_id, "--cluster", str(cluster)])


def _follow(submitted: Submitted, described: Cluster, cluster: Path, as_json: bool) -> int:
    run_id = submitted.run_id
    wait = waiting.Wait(described, run_id, complain, submitted.write_record if submitted.note else None)
    try:
        with progress.watcher(tries_again=True) as watcher:
            ended = wait.to_the_end(pods.Watch(run_id, described, watcher.watch, complain))
    except KeyboardInterrupt:
        complain(f"the run goes on; {suggestion('status', run_id, cluster)} shows it, cancel stops it")
        return INTERRUPTED
    shown = {**pods.explained(ended, described), "version": submitted.version}
    print_json(shown) if as_json else steps.show_run(shown)
    if shown["exit_code"] != 0:
        complain(f"{shown['failed_step'] or 'run'}: {shown['reason']}")
        logs, again = suggestion("logs", run_id, cluster), suggestion("resume", run_id, cluster)
        complain(f"log: {logs}; again: {again}")
    return int(shown["exit_code"])
