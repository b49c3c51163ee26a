"""`modelmill schedule diff`."""

from typing import Annotated

import typer

from modelmill.pipelines.commands.options import (
    DEFAULT_CLUSTER,
    DEFAULT_SCHEDULES,
    AsJson,
    ClusterFile,
    SchedulesFile,
)

EXAMPLE = "modelmill schedule diff schedules.yaml --cluster cluster.yaml"


def command(
    file: SchedulesFile = DEFAULT_SCHEDULES,
    cluster: ClusterFile = DEFAULT_CLUSTER,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="End with 1 if there are differences.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what apply would change; nothing is changed and nothing is uploaded."""
    from modelmill.pipelines.cluster import applying
    from modelmill.pipelines.display import schedules

    changes = applying.compare(file, cluster)
    schedules.show(changes, as_json, is_applied=False)
    raise typer.Exit(1 if changes and exit_code else 0)
