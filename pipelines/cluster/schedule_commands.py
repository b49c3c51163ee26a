"""`modelmill schedule diff | apply`: the cluster's recurring runs as schedules.yaml has them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from modelmill.pipelines.cluster.schedules import DEFAULT_SCHEDULES
from modelmill.pipelines.cluster.settings import DEFAULT_CLUSTER, ClusterFile
from modelmill.pipelines.display.text import AsJson, complain, print_json

if TYPE_CHECKING:
    from modelmill.pipelines.cluster.scheduling import Change

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Run recipes again and again on a cluster.")

File = Annotated[Path, typer.Argument(metavar="[FILE]", help="The schedules, a YAML file.")]
_FILE, _CLUSTER = Path(DEFAULT_SCHEDULES), Path(DEFAULT_CLUSTER)


def register(main: typer.Typer) -> None:
    """Add the commands to the command line."""
    main.add_typer(app, name="schedule")


@app.command(epilog="Example: modelmill schedule diff schedules.yaml --cluster cluster.yaml")
def diff(
    file: File = _FILE,
    cluster: ClusterFile = _CLUSTER,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="End with 1 if there are differences.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what apply would change; nothing is changed and nothing is uploaded."""
    from modelmill.pipelines.cluster import applying

    changes = applying.compare(file, cluster)
    _show(changes, as_json, is_applied=False)
    raise typer.Exit(1 if changes and exit_code else 0)


@app.command(epilog="Example: modelmill schedule apply schedules.yaml --cluster cluster.yaml")
def apply(file: File = _FILE, cluster: ClusterFile = _CLUSTER, as_json: AsJson = False) -> None:
    """Make the cluster agree with the file: create, replace, switch on and off, delete what is ours and not in it.

    Applying again changes nothing, and repairs what an apply that was interrupted has left.
    """
    from modelmill.pipelines.cluster import applying

    _show(applying.apply(file, cluster), as_json, is_applied=True)


def _show(changes: "list[Change]", as_json: bool, is_applied: bool) -> None:
    from rich.table import Table

    rows = [
        {
            "action": one.action,
            "schedule": one.schedule,
            "reason": one.reason,
            "cron": one.wanted.part.line if one.wanted is not None else None,
            "recurring_run": one.id,
        }
        for one in changes
    ]
    if as_json:
        print_json({"applied": is_applied, "changes": rows})
    elif not rows:
        print("nothing to change")
    else:
        table = Table("action", "schedule", "reason", "cron of KFP", "recurring run", box=None)
        for row in rows:
            table.add_row(*(value or "" for value in row.values()))
        Console().print(table)
        if not is_applied:
            complain("nothing is changed yet; modelmill schedule apply does it")
