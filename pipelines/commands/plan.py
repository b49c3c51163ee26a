"""`modelmill plan`."""

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
from modelmill.pipelines.display.text import print_json

EXAMPLE = "modelmill plan recipes/python-lm.yaml --set fine_tuning.learning_rate=1e-3"


def command(
    recipe: RecipeFile,
    checks_model: Annotated[
        bool, typer.Option("--check-model", help="Load the weights of pretraining.init and prove how they are fed.")
    ] = False,
    overrides: Overrides = None,
    store: StoreUri = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Show which steps a run would run, why, and what training would cost.

    Nothing is run and nothing is written.
    """
    from modelmill.components.pretraining import api
    from modelmill.pipelines.planning import estimates
    from modelmill.pipelines.planning.plan import columns, plan

    loaded, opened = open_recipe(recipe, overrides, store)
    planned = plan(loaded, opened)
    costs = estimates.estimate(loaded, opened, planned)
    model = api.check_model(loaded, opened) if checks_model else None
    if as_json:
        known = {name: cost.model_dump() for name, cost in costs.items()}
        steps = [{**step._asdict(), "estimate": known.get(step.name)} for step in planned]
        typed = columns(loaded, opened)
        whole = {"recipe": loaded.name, "steps": steps, "total": estimates.total(costs), "columns": typed}
        print_json(whole if model is None else whole | {"model": model})
        return
    from modelmill.pipelines.display import plan as tables

    tables.show_steps(planned)
    tables.show_columns(columns(loaded, opened))
    tables.show_costs(costs)
    if model is not None:
        tables.show_model(model)
