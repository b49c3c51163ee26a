"""`modelmill trigger`."""

from enum import Enum
from typing import Annotated

import typer

from modelmill.core.errors import UserError, one_line
from modelmill.pipelines.commands.options import (
    DEFAULT_CLUSTER,
    AsJson,
    ClusterFile,
    CoolDown,
    Overrides,
    RecipeFile,
)
from modelmill.pipelines.display.text import print_json

EXAMPLE = "modelmill trigger recipes/python-lm.yaml --reason 'a new crawl'"


class Why(str, Enum):
    """What kind of reason a person or a script can have."""

    manual = "manual"
    schedule = "schedule"
    drift = "drift"


def command(
    recipe: RecipeFile,
    reason: Annotated[str, typer.Option("--reason", help="Why; recorded on the run.")],
    cluster: ClusterFile = DEFAULT_CLUSTER,
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
    from modelmill.pipelines.trigger.claims import Asker
    from modelmill.pipelines.trigger.cluster_runs import starter_of

    if not reason.strip():
        raise UserError("--reason: say why, in a few words")
    loaded = recipes.load(recipe, overrides)
    starter = starter_of(cluster, cool_down)
    asker = Asker(by=one_line(Exception(by or who())), kind=kind.value, reason=one_line(Exception(reason)))
    answer = starter.ask(loaded, asker, force)
    if as_json:
        print_json({"recipe": loaded.name, **answer._asdict()})
    elif answer.result == "started":
        print(f"{loaded.name}  run {answer.run_id} started")
    else:
        run = f"run {answer.run_id}" if answer.run_id else "a run that is being submitted"
        print(f"{loaded.name}  {run} was asked for before, for the same recipe and data; nothing started")
