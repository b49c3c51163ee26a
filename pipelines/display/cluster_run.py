"""Runs on a cluster for people: what was started, how it goes, how it ended."""

import shlex
from pathlib import Path
from typing import Any

from modelmill.pipelines.cluster import client as clients
from modelmill.pipelines.cluster import following, reach
from modelmill.pipelines.cluster.settings import Cluster
from modelmill.pipelines.cluster.submitting import Submitted
from modelmill.pipelines.display import progress, steps
from modelmill.pipelines.display.text import complain, print_json, printable

INTERRUPTED = 130


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
        print_json(submitted._asdict())
    if not as_json:
        print(f"run {submitted.run_id}, version {submitted.version}\n{submitted.link}", flush=True)
    if wait:
        return _follow(submitted, described, cluster, as_json)
    if not as_json:
        print(f"follow: {suggestion('status', submitted.run_id, cluster)}")
    return 0


def show_runs(runs: list[dict[str, Any]]) -> None:
    """Print a table of runs, as `following.listed` describes each."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    if not runs:
        print("no runs yet; start one with modelmill submit RECIPE")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("run", "name", "state", "created", "asked for"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "run")
    for run in runs:
        created = (run["created"] or "")[:19].replace("T", " ")
        cells = (run["run_id"], run["name"], run["state"] or "", created, run["description"])
        table.add_row(*(escape(printable(str(cell))) for cell in cells))
    Console().print(table)


def show(run: dict[str, Any]) -> None:
    """Print one run with its steps, as `following.shown` describes it."""
    state = f"{run['run_id']}  {run['name']}  {run['state']}"
    print(printable(f"{state}: {run['outcome']}" if run["outcome"] else state))
    if run["description"]:
        print(printable(run["description"]))
    print(run["link"])
    steps.show_run(run)
    if run["reason"]:
        print(printable(f"{run['failed_step'] or 'run'}: {run['reason']}"))


def suggestion(verb: str, run_id: str, cluster: Path) -> str:
    """Return a command about a run, for a person to paste."""
    return shlex.join(["modelmill", verb, run_id, "--cluster", str(cluster)])


def _follow(submitted: Submitted, described: Cluster, cluster: Path, as_json: bool) -> int:
    run_id, store = submitted.run_id, reach.store_of(described)[0]
    try:
        with clients.connected(described) as client, progress.watcher(tries_again=True) as watcher:
            run = following.follow(client, run_id, store, watcher.watch)
    except KeyboardInterrupt:
        complain(f"the run goes on; {suggestion('status', run_id, cluster)} shows it, cancel stops it")
        return INTERRUPTED
    shown = {**following.shown(run, store, described), "version": submitted.version}
    print_json(shown) if as_json else steps.show_run(shown)
    if shown["exit_code"] != 0:
        complain(f"{shown['failed_step'] or 'run'}: {shown['reason']}")
        logs, again = suggestion("logs", run_id, cluster), suggestion("resume", run_id, cluster)
        complain(f"log: {logs}; again: {again}")
    return int(shown["exit_code"])
