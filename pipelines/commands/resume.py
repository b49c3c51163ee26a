"""`modelmill resume`."""

import typer

from modelmill.pipelines.commands.options import DEFAULT_CLUSTER, AsJson, ClusterFile, ClusterRun, Wait

EXAMPLE = "modelmill resume RUN --cluster cluster.yaml --wait"


def command(
    run_id: ClusterRun, wait: Wait = False, cluster: ClusterFile = DEFAULT_CLUSTER, as_json: AsJson = False
) -> None:
    """Go on with a run that has ended: a new run of the same version, in which finished steps are reused."""
    from modelmill.champion.champion_state import who
    from modelmill.pipelines.cluster import settings, submitting
    from modelmill.pipelines.display import cluster_run

    described = settings.load(cluster)
    submitted = submitting.resume(run_id, described, who(), cluster)
    if not as_json:
        print(f"resumes {run_id}")
    raise typer.Exit(cluster_run.tell_started(submitted, described, cluster, wait, as_json))
