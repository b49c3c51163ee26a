"""`modelmill trigger-server`."""

from pathlib import Path
from typing import Annotated

import typer

from modelmill.pipelines.commands.options import DEFAULT_CLUSTER, AsJson, ClusterFile, CoolDown
from modelmill.pipelines.display.text import print_json

EXAMPLE = "modelmill trigger-server --recipes recipes --cluster cluster.yaml"


def command(
    recipes: Annotated[Path, typer.Option("--recipes", help="The folder of recipes that may be asked for.")],
    cluster: ClusterFile = DEFAULT_CLUSTER,
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port; 0 takes a free one.")] = 8080,
    poll: Annotated[
        float, typer.Option("--poll", min=0, help="Seconds between two looks at the data; 0 for none.")
    ] = 300.0,
    cool_down: CoolDown = 600.0,
    as_json: AsJson = False,
) -> None:
    """Serve signed triggers and events of the object store, and look for changed data.

    MODELMILL_TRIGGER_SECRET, or the file that MODELMILL_TRIGGER_SECRET_FILE names, holds the secret that signs.
    """
    from modelmill.pipelines.trigger import serving, signing
    from modelmill.pipelines.trigger.cluster_runs import starter_of

    secrets = signing.read_secrets()
    known = serving.load_recipes(recipes)
    starter = starter_of(cluster, cool_down)
    starter.store.check()
    if as_json:
        print_json({"host": host, "port": port, "recipes": [one.name for one in known]})
    serving.serve(known, starter, secrets, poll, host, port)
