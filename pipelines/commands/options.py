"""Options and arguments that several commands have, and what is opened with them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelmill.pipelines.cluster import DEFAULT_CLUSTER, DEFAULT_SCHEDULES

if TYPE_CHECKING:
    from modelmill.recipe import Recipe
    from modelmill.store import Store

__all__ = ["DEFAULT_CLUSTER", "DEFAULT_SCHEDULES"]

DEFAULT_STORE = "file://./.modelmill"

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
StoreUri = Annotated[
    str, typer.Option("--store", envvar="MODELMILL_STORE", help="file://FOLDER or s3://BUCKET/PREFIX.")
]
RecipeFile = Annotated[Path, typer.Argument(help="The recipe, a YAML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override a key of the recipe; may be repeated."),
]
IfChanged = Annotated[
    bool,
    typer.Option("--if-changed", help="Look for new data or drift first (data.retrain); train only for that reason."),
]
Model = Annotated[str, typer.Argument(help="The registered model's name.")]
ModelOrVersion = Annotated[str, typer.Argument(metavar="MODEL", help="MODEL, MODEL@ALIAS or MODEL/VERSION.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the log of decisions.")]
LatestRun = Annotated[str | None, typer.Argument(help="The run; the latest if not given.")]

ClusterFile = Annotated[
    Path,
    typer.Option(
        "--cluster", envvar="MODELMILL_CLUSTER", help="The file that describes the cluster.", show_default=True
    ),
]
ClusterRun = Annotated[str, typer.Argument(metavar="RUN", help="The run's id, as submit and status print it.")]
Wait = Annotated[bool, typer.Option("--wait", help="Follow the run to its end, and end as it does.")]
SchedulesFile = Annotated[Path, typer.Argument(metavar="[FILE]", help="The schedules, a YAML file.")]
CoolDown = Annotated[
    float,
    typer.Option(
        "--cool-down",
        min=0,
        envvar="MODELMILL_TRIGGER_COOL_DOWN",
        help="Seconds from a run of the recipe to the next, for other data.",
    ),
]


def open_recipe(recipe: Path, overrides: list[str] | None, store: str) -> "tuple[Recipe, Store]":
    """Load a recipe with its overrides and open the store.

    Raises:
        UserError: the recipe, an override or the store's address is wrong.
    """
    from modelmill import recipe as recipes
    from modelmill.store import open_store

    return recipes.load(recipe, overrides), open_store(store)
