"""`modelmill data drift`."""

import typer

from modelmill.core.errors import UserError
from modelmill.pipelines.commands.options import (
    DEFAULT_STORE,
    AsJson,
    Overrides,
    RecipeFile,
    StoreUri,
    open_recipe,
)
from modelmill.pipelines.display.text import print_json, printable

EXAMPLE = "modelmill data drift recipes/python-lm.yaml"


def command(
    recipe: RecipeFile, overrides: Overrides = None, store: StoreUri = DEFAULT_STORE, as_json: AsJson = False
) -> None:
    """Hold a recipe's data against that of its registered model.

    Ends with 3 if the data have drifted, else with 0.
    """
    from modelmill.data import shards

    loaded, opened = open_recipe(recipe, overrides, store)
    listed = shards.of(loaded.data)
    from modelmill.components.data_validation.api import of_recipe

    model = loaded.registration.model
    compared = of_recipe(loaded, listed, opened)
    if compared is None:
        raise UserError(f"--store {store}: no version of {model} is registered from it; modelmill run {recipe} first")
    version, drift = compared
    if as_json:
        print_json({"model": model, "version": version, **drift.to_json()})
    else:
        from modelmill.pipelines.display import columns

        columns.show_drift(drift)
        for name in drift.skipped:
            print(f"{printable(name)}: too few values to compare in full (data.drift.minimum)")
        verdict = "has drifted" if drift.drifted else "has not drifted"
        print(f"the data {verdict} from that of {model} version {version}: largest PSI {drift.value:.3f}")
    raise typer.Exit(3 if drift.drifted else 0)
