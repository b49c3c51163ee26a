"""`modelmill submit`."""

from typing import Annotated

import typer

from modelmill.pipelines.commands.options import (
    DEFAULT_CLUSTER,
    AsJson,
    ClusterFile,
    IfChanged,
    Overrides,
    RecipeFile,
    Wait,
)

EXAMPLE = "modelmill submit recipes/python-lm.yaml --cluster cluster.yaml --wait"


def command(
    recipe: RecipeFile,
    wait: Wait = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with the run.")] = "",
    if_changed: IfChanged = False,
    overrides: Overrides = None,
    cluster: ClusterFile = DEFAULT_CLUSTER,
    as_json: AsJson = False,
) -> None:
    """Start a run of a recipe on a cluster; the pipeline is uploaded if the cluster does not have it.

    With --wait it ends with 0 when the model is registered, 3 when the data or the model failed its gate, 4 when it was
    cancelled, and 1 when anything else failed; 2 is a mistake in what was given.
    """
    from modelmill import recipe as recipes
    from modelmill.champion.champion_state import who
    from modelmill.pipelines.cluster import fitting, reach, settings, submitting
    from modelmill.pipelines.display import cluster_run
    from modelmill.pipelines.display.text import complain

    described = settings.load(cluster)
    reach.adopt(described)
    resolved = recipes.load(recipe, overrides)
    if other := settings.other_version(described):
        complain(f"warning: {other}")
    submitted = submitting.submit(resolved, described, who(), reason, cluster, if_changed)
    for warning in fitting.warnings(resolved, described, submitted.run_id):
        complain(f"warning: {warning}")
    raise typer.Exit(cluster_run.tell_started(submitted, described, cluster, wait, as_json))
