"""`modelmill compile`."""

from pathlib import Path
from typing import Annotated

import typer

from modelmill.core.errors import UserError
from modelmill.pipelines.commands.options import (
    DEFAULT_STORE,
    AsJson,
    IfChanged,
    Overrides,
    RecipeFile,
    StoreUri,
    open_recipe,
)
from modelmill.pipelines.display.text import complain, print_json

EXAMPLE = "modelmill compile recipes/python-lm.yaml -o python-lm.yaml"


def command(
    context: typer.Context,
    recipe: RecipeFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write; .yaml.")],
    cluster: Annotated[
        Path | None, typer.Option("--cluster", help="The cluster's file: images, nodes, the store and Secrets by name.")
    ] = None,
    overrides: Overrides = None,
    store: StoreUri = DEFAULT_STORE,
    if_changed: IfChanged = False,
    as_json: AsJson = False,
) -> None:
    """Write the recipe's KFP pipeline (IR YAML), to upload to a cluster.

    With --cluster each step gets that cluster's image and the nodes of its profile; without, nothing of a cluster.
    """
    from modelmill.pipelines import compiling

    if output.suffix not in {".yaml", ".yml"}:
        raise UserError(f"--output {output}: KFP reads .yaml files; give the name that ending")
    if cluster is not None:
        if (source := context.get_parameter_source("store")) is not None and source.name == "COMMANDLINE":
            raise UserError(f"--store {store}: the store is the cluster's; it is in {cluster}")
        compiling.for_cluster(recipe, overrides, cluster, output, if_changed)
    else:
        for note in compiling.for_any(*open_recipe(recipe, overrides, store), output, if_changed):
            complain(f"note: {note}")
    size = output.stat().st_size
    print_json({"file": str(output), "bytes": size}) if as_json else print(f"{output}  {size:,} bytes")
