"""`modelmill schedule apply`."""

from modelmill.pipelines.commands.options import (
    DEFAULT_CLUSTER,
    DEFAULT_SCHEDULES,
    AsJson,
    ClusterFile,
    SchedulesFile,
)

EXAMPLE = "modelmill schedule apply schedules.yaml --cluster cluster.yaml"


def command(
    file: SchedulesFile = DEFAULT_SCHEDULES, cluster: ClusterFile = DEFAULT_CLUSTER, as_json: AsJson = False
) -> None:
    """Make the cluster agree with the file: create, replace, switch on and off, and delete runs.

    Recurring runs that are ours and not in the file are deleted; what they have started goes on. Applying again
    changes nothing, and repairs what an apply that was interrupted has left.
    """
    from modelmill.pipelines.cluster import applying
    from modelmill.pipelines.display import schedules

    schedules.show(applying.apply(file, cluster), as_json, is_applied=True)
