"""`modelmill cancel`."""

from modelmill.pipelines.commands.options import DEFAULT_CLUSTER, AsJson, ClusterFile, ClusterRun
from modelmill.pipelines.display.text import complain, print_json

EXAMPLE = "modelmill cancel RUN --cluster cluster.yaml"


def command(run_id: ClusterRun, cluster: ClusterFile = DEFAULT_CLUSTER, as_json: AsJson = False) -> None:
    """Stop a run; what its steps have finished or saved is kept, and resume goes on from there.

    Steps save first: KFP is told to stop the run when they have ended, or after a minute.
    """
    from modelmill.champion.champion_state import who
    from modelmill.pipelines.cluster import cancelling, settings
    from modelmill.pipelines.display import cluster_run

    asked = cancelling.cancel(run_id, settings.load(cluster), who(), complain)
    again = cluster_run.suggestion("resume", run_id, cluster)
    for note in asked.notes:
        complain(f"note: {note}")
    if as_json:
        cancelled = asked.cancelled.model_dump() if asked.cancelled else None
        print_json({"run_id": run_id, "state": "CANCELING", "cancelled": cancelled, "resume": again})
    else:
        whom = f" ({asked.cancelled})" if asked.cancelled else ""
        print(f"{run_id}: is being cancelled{whom}; again: {again}")
