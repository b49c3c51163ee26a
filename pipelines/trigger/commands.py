"""`modelmill trigger` and `modelmill trigger-server`: a run on demand, once for the same recipe and data."""

import os
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelmill.core.errors import UserError
from modelmill.pipelines.cluster.settings import DEFAULT_CLUSTER, ClusterFile
from modelmill.pipelines.display.text import AsJson, Overrides, print_json

if TYPE_CHECKING:
    from modelmill.pipelines.trigger.asking import Starter

CoolDown = Annotated[
    float,
    typer.Option(
        "--cool-down",
        min=0,
        envvar="MODELMILL_TRIGGER_COOL_DOWN",
        help="Seconds from a run of the recipe to the next, for other data.",
    ),
]


class Why(str, Enum):
    """What kind of reason a person or a script can have."""

    manual = "manual"
    schedule = "schedule"
    drift = "drift"


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(epilog="Example: modelmill trigger recipes/python-lm.yaml --reason 'a new crawl'")(trigger)
    app.command("trigger-server", epilog="Example: modelmill trigger-server --recipes recipes --cluster cluster.yaml")(
        trigger_server
    )


def trigger(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; recorded on the run.")],
    cluster: ClusterFile = Path(DEFAULT_CLUSTER),
    overrides: Overrides = None,
    by: Annotated[str | None, typer.Option("--by", help="Who asks; the user and the machine if not given.")] = None,
    kind: Annotated[Why, typer.Option("--kind", help="What kind of reason it is.")] = Why.manual,
    cool_down: CoolDown = 600.0,
    force: Annotated[
        bool, typer.Option("--force", help="Begin within the cool-down, or again after a gate has refused.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Start a run on the cluster, unless one was started for the same recipe on the same data.

    A run that has failed may be asked for again; one that a gate has refused only with --force.
    """
    from modelmill import recipe as recipes
    from modelmill.champion.champion_state import who
    from modelmill.core.errors import one_line
    from modelmill.pipelines.trigger.claims import Asker

    if not reason.strip():
        raise UserError("--reason: say why, in a few words")
    loaded = recipes.load(recipe, overrides)
    starter = _starter(cluster, cool_down)
    asker = Asker(by=one_line(Exception(by or who())), kind=kind.value, reason=one_line(Exception(reason)))
    answer = starter.ask(loaded, asker, force)
    if as_json:
        print_json({"recipe": loaded.name, **answer._asdict()})
    elif answer.result == "started":
        print(f"{loaded.name}  run {answer.run_id} started")
    else:
        run = f"run {answer.run_id}" if answer.run_id else "a run that is being submitted"
        print(f"{loaded.name}  {run} was asked for before, for the same recipe and data; nothing started")


def trigger_server(
    recipes: Annotated[Path, typer.Option("--recipes", help="The folder of recipes that may be asked for.")],
    cluster: ClusterFile = Path(DEFAULT_CLUSTER),
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

    secrets = signing.read_secrets()
    known = serving.load_recipes(recipes)
    starter = _starter(cluster, cool_down)
    starter.store.check()
    if as_json:
        print_json({"host": host, "port": port, "recipes": [one.name for one in known]})
    serving.serve(known, starter, secrets, poll, host, port)


def _starter(file: Path, cool_down: float) -> "Starter":
    """Runs on the cluster of a file: its store, and KFP to submit to.

    Raises:
        UserError: the file, or the store cannot be reached from here.
    """
    from modelmill.pipelines.cluster import reach, settings
    from modelmill.pipelines.trigger.asking import Starter
    from modelmill.pipelines.trigger.cluster_runs import ClusterRuns

    cluster = settings.load(file)
    # The data of recipes are in the same place, and are listed with what the environment says.
    if cluster.endpoint:
        os.environ.setdefault("AWS_ENDPOINT_URL", cluster.endpoint)
    os.environ.setdefault("AWS_DEFAULT_REGION", cluster.region)
    store, why = reach.store_of(cluster)
    if store is None:
        raise UserError(f"{file}: store {cluster.store}: {why}")
    known = ClusterRuns(cluster, store, file)
    return Starter(store, known.submit, known.state_of, cool_down)
