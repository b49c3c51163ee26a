"""Changes to a cluster's recurring runs, as a table or JSON."""

from rich.console import Console
from rich.table import Table

from modelmill.pipelines.cluster.scheduling import Change
from modelmill.pipelines.display.text import complain, print_json


def show(changes: list[Change], as_json: bool, is_applied: bool) -> None:
    """Print changes, made or only found."""
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
