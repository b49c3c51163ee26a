"""`modelmill logs`."""

from typing import Annotated

import typer

from modelmill.pipelines.commands.options import DEFAULT_CLUSTER, AsJson, ClusterFile, ClusterRun
from modelmill.pipelines.display.text import print_json, printable

EXAMPLE = "modelmill logs RUN --step pretraining --cluster cluster.yaml"


def command(
    run_id: ClusterRun,
    step: Annotated[str | None, typer.Option("--step", help="One step, as pretraining; all if not given.")] = None,
    cluster: ClusterFile = DEFAULT_CLUSTER,
    as_json: AsJson = False,
) -> None:
    """Print what a run's steps have said: their logs in the store, else the errors that KFP has."""
    from modelmill.pipelines.cluster import client as clients
    from modelmill.pipelines.cluster import following, reach, settings, submitting

    described = settings.load(cluster)
    with clients.connected(described) as client:
        run = submitting.get_run(client, run_id)
    logs = following.logs(run, reach.store_of(described)[0], step.replace("-", "_") if step else None)
    if as_json:
        print_json({"run_id": run_id, "logs": logs})
        return
    for name, text in logs.items():
        if step is None:
            print(f"== {name}")
        print("\n".join(printable(line) for line in text.splitlines()))
