"""`modelmill status`."""

from typing import Annotated

import typer

from modelmill.pipelines.commands.options import DEFAULT_CLUSTER, AsJson, ClusterFile
from modelmill.pipelines.display.text import print_json

EXAMPLE = "modelmill status --cluster cluster.yaml"


def command(
    run_id: Annotated[str | None, typer.Argument(metavar="[RUN]", help="One run; the newest if not given.")] = None,
    most: Annotated[int, typer.Option("--most", min=1, max=1000, help="How many runs to list.")] = 10,
    cluster: ClusterFile = DEFAULT_CLUSTER,
    as_json: AsJson = False,
) -> None:
    """List the newest runs of a cluster, or show one with its steps."""
    from modelmill.pipelines.cluster import client as clients
    from modelmill.pipelines.cluster import following, pods, reach, settings, submitting
    from modelmill.pipelines.display import cluster_run

    described = settings.load(cluster)
    with clients.connected(described) as client:
        if run_id is None:
            runs = following.listing(following.recent(client, described, most), described)
            print_json({"runs": runs}) if as_json else cluster_run.show_runs(runs)
            return
        run = submitting.get_run(client, run_id)
    shown = pods.explained(following.shown(run, reach.store_of(described)[0], described), described)
    print_json(shown) if as_json else cluster_run.show(shown)
