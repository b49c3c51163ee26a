"""`modelmill run`."""

import sys
from enum import Enum
from typing import Annotated

import typer

from modelmill.pipelines.commands.options import (
    DEFAULT_STORE,
    AsJson,
    IfChanged,
    Overrides,
    RecipeFile,
    StoreUri,
    open_recipe,
)
from modelmill.pipelines.display.text import complain

EXAMPLE = "modelmill run recipes/python-lm.yaml --set fine_tuning.steps=50"


class Runner(str, Enum):
    """Where the steps run."""

    local = "local"
    subprocess = "subprocess"
    docker = "docker"


def command(
    recipe: RecipeFile,
    overrides: Overrides = None,
    store: StoreUri = DEFAULT_STORE,
    runner: Annotated[Runner, typer.Option("--runner", help="Where the steps run.")] = Runner.local,
    if_changed: IfChanged = False,
    as_json: AsJson = False,
) -> None:
    """Run a recipe from its data to a registered model; what is unchanged is reused.

    Ends with 0 when the model is registered or there was nothing to do, 2 for a mistake in what was given, 3 when the
    data or the model failed its gate, and 1 when anything else failed.
    """
    from modelmill.pipelines import run as running
    from modelmill.pipelines.display import progress, run_end

    loaded, opened = open_recipe(recipe, overrides, store)
    if runner is Runner.docker:
        from modelmill.pipelines.runners import containers

        containers.check(loaded, opened)
    running.check(loaded, opened)
    try:
        with progress.watcher() as watcher:
            typed = ["modelmill", *sys.argv[1:]]
            run_id = running.execute(loaded, opened, runner.value, typed, watcher.watch, if_changed)
    except KeyboardInterrupt:
        complain("stopped; the same command goes on from the last checkpoint")
        raise typer.Exit(130) from None
    raise typer.Exit(run_end.tell(opened, run_id, store, as_json))
