"""`modelmill doctor`."""

from pathlib import Path
from typing import Annotated

import typer

from modelmill.pipelines.commands.options import DEFAULT_STORE, AsJson, Overrides, StoreUri
from modelmill.pipelines.display.text import print_json

EXAMPLE = "modelmill doctor recipes/python-lm.yaml --store s3://bucket/prefix"


def command(
    recipe: Annotated[Path | None, typer.Argument(help="A recipe to check as well.")] = None,
    overrides: Overrides = None,
    store: StoreUri = DEFAULT_STORE,
    cluster: Annotated[
        Path | None, typer.Option("--cluster", help="Check this cluster file's cluster instead.")
    ] = None,
    from_inside: Annotated[
        bool, typer.Option("--from-inside", help="With --cluster: a pod checks, too, what a step reaches.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check, one by one, what a run needs: Python, libraries, store, registry, disk, device, and a recipe.

    With --cluster, what a submission needs: the file, profiles, images, KFP and its version, token, namespace, what
    Kubernetes and Argo are set to do, store, buckets, MLflow, and a recipe.
    """
    from modelmill.core.errors import UserError
    from modelmill.pipelines.doctor import examine, examine_cluster

    if from_inside and cluster is None:
        raise UserError("--from-inside starts a pod in a cluster; name its file with --cluster FILE")
    findings = (
        examine_cluster(cluster, recipe, overrides, from_inside) if cluster else examine(store, recipe, overrides)
    )
    if as_json:
        print_json({"findings": [finding._asdict() for finding in findings]})
    else:
        from modelmill.pipelines.display.checks import show

        show((finding.ok, f"{finding.name:<10} {finding.message}") for finding in findings)
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 2)
