"""`modelmill registry repair`."""

from typing import Annotated

import typer

from modelmill.core.errors import UserError
from modelmill.pipelines.commands.options import DEFAULT_STORE, AsJson, StoreUri
from modelmill.pipelines.display.text import print_json

EXAMPLE = "modelmill registry repair"


def command(
    model: Annotated[str | None, typer.Argument(help="The model; every model if not given.")] = None,
    store: StoreUri = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Point MLflow's aliases to where the store says that they belong."""
    from modelmill.champion import champion_state
    from modelmill.pipelines.models import champions, versions
    from modelmill.store import open_store

    opened = open_store(store)
    names = champion_state.models(opened)
    if model is not None and model not in names:
        versions.registered(opened, model, store)
        raise UserError(f"{model}: nothing was decided about it in {store} yet; modelmill promote {model} VERSION")
    changed = {name: champions.follow(opened, name) for name in ([model] if model else names)}
    if as_json:
        print_json({"changed": changed})
        return
    for name, lines in changed.items():
        print(f"{name}: " + ("; ".join(lines) or "as it should be"))
