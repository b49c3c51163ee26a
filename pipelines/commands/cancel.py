"""`modelmill cancel`."""

from modelmill.pipelines.commands.options import DEFAULT_CLUSTER, AsJson, ClusterFile, ClusterRun
from modelmill.pipelines.display.text import print_json

EXAMPLE = "modelmill cancel RUN --cluster cluster.yaml"


def command(run_id: ClusterRun, cluster: ClusterFile = DEFAULT_CLUSTER, as_json: AsJson = False) -> None:
    """Stop a run; what its steps have finished or saved is kept, and resume goes on from there."""
    from modelmill.pipelines.cluster import following, settings
    from modelmill.pipelines.display import cluster_run

    following.cancel(run_id, settings.load(cluster))
    again = cluster_run.suggestion("resume", run_id, cluster)
    if as_json:
        print_json({"run_id": run_id, "state": "CANCELING", "resume": again})
    else:
        print(f"{run_id}: is being cancelled; again: {again}")
