"""`modelmill lr-find`."""

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from modelmill.pipelines.commands.options import (
    DEFAULT_STORE,
    AsJson,
    Overrides,
    RecipeFile,
    StoreUri,
    open_recipe,
)
from modelmill.pipelines.display.text import complain, print_json

EXAMPLE = "modelmill lr-find recipes/python-lm.yaml --stage fine_tuning"


class Stage(str, Enum):
    """The steps that train."""

    pretraining = "pretraining"
    fine_tuning = "fine_tuning"


def command(
    recipe: RecipeFile,
    stage: Annotated[Stage | None, typer.Option("--stage", help="The first that the recipe has, if not given.")] = None,
    low: Annotated[float, typer.Option("--from", help="The first rate.")] = 1e-6,
    high: Annotated[float, typer.Option("--to", help="The last rate.")] = 1.0,
    steps: Annotated[int, typer.Option("--steps", help="How many rates to try, a batch each.")] = 100,
    output: Annotated[Path, typer.Option("--output", "-o", help="The page to write.")] = Path("lr-find.html"),
    overrides: Overrides = None,
    store: StoreUri = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Suggest a learning rate: train a few batches while the rate rises, and draw how the loss moves.

    The steps before the stage are found finished, or run and kept; of what is tried, nothing is kept.
    """
    from modelmill.pipelines import lr_find
    from modelmill.pipelines import run as running
    from modelmill.pipelines.display import progress, rates, run_end

    loaded, opened = open_recipe(recipe, overrides, store)
    sweep, chosen = lr_find.Sweep(low, high, steps), lr_find.choose_stage(loaded, stage.value if stage else None)
    lr_find.check(sweep, output)
    running.check(loaded, opened)
    try:
        with progress.watcher() as watcher:
            typed = ["modelmill", *sys.argv[1:]]
            run_id, curve = lr_find.try_rates(loaded, opened, chosen, sweep, typed, watcher.watch)
    except KeyboardInterrupt:
        complain("stopped; the steps before the stage go on from where they were")
        raise typer.Exit(130) from None
    if curve is None:
        raise typer.Exit(run_end.tell(opened, run_id, store, as_json))
    options = [word for one in overrides or [] for word in ("--set", one)]
    options += ["--store", store] if store != DEFAULT_STORE else []
    use = lr_find.command_with(recipe, options, chosen, curve)
    lr_find.draw(output, loaded, chosen, curve, use)
    if as_json:
        print_json({"recipe": loaded.name, "stage": chosen, **curve, "command": use, "file": str(output)})
    else:
        rates.show(curve, use, output)
