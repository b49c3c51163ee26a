"""`modelmill report`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelmill.core.errors import UserError
from modelmill.pipelines.commands.options import DEFAULT_STORE, AsJson, LatestRun, StoreUri
from modelmill.pipelines.display.text import print_json
from modelmill.pipelines.writing import writing

if TYPE_CHECKING:
    from modelmill.store import Store

EXAMPLE = "modelmill report"


def command(
    run_id: LatestRun = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the page to this file.")] = None,
    log: Annotated[bool, typer.Option("--log", help="Print the run's log instead.")] = False,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option("--compare", metavar="RUN RUN", help="Put two runs beside each other on one page."),
    ] = None,
    store: StoreUri = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Say where a run's HTML report is, or write it to a file, or print the run's log, or compare two runs."""
    from modelmill.runtime import run_records
    from modelmill.store import open_store

    opened = open_store(store)
    known = run_records.run_ids(opened)
    if not known:
        raise UserError(f"--store {store}: no runs in it yet; start one with modelmill run RECIPE")
    chosen = run_id or known[-1]
    for one in compare or (chosen,):
        if one not in known:
            raise UserError(f"{one}: no such run in {store}; the latest is {known[-1]}")
    if compare is not None:
        _compare(opened, *compare, output or Path("comparison.html"), as_json)
    else:
        _show(opened, chosen, output, log, as_json)


def _compare(store: "Store", first: str, second: str, output: Path, as_json: bool) -> None:
    from modelmill.components.reporting.api import Run, render_comparison

    page = render_comparison(*(Run.find(store, run_id) for run_id in (first, second)))
    with writing(f"--output {output}"):
        output.write_text(page, "utf-8")
    print_json({"runs": [first, second], "file": str(output)}) if as_json else print(output)


def _show(store: "Store", run_id: str, output: Path | None, log: bool, as_json: bool) -> None:
    from modelmill.pipelines.run import log_key, summary
    from modelmill.runtime import run_records
    from modelmill.store import KeyNotFound

    key = log_key(run_id) if log else run_records.report_key(run_id)
    try:
        page = store.get(key)
    except KeyNotFound:
        raise UserError(f"{run_id}: the run has no {'log' if log else 'report'}; it may be running still") from None
    if output is not None:
        with writing(f"--output {output}"):
            output.write_bytes(page)
    if log and output is None:
        sys.stdout.write(page.decode("utf-8", "replace"))
    elif as_json:
        print_json(summary(store, run_id))
    else:
        print(output or store.local_path(key) or f"{store.uri}/{key}")
