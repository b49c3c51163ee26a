"""`modelmill promote`."""

from typing import Annotated

import typer

from modelmill.pipelines.commands.options import DEFAULT_STORE, AsJson, Model, Reason, StoreUri

EXAMPLE = "modelmill promote tabular-mlp 2 --reason 'better on the new branches'"


def command(
    model: Model,
    version: Annotated[str, typer.Argument(help="The version.")],
    reason: Reason = "a person's choice",
    store: StoreUri = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Make a verified version of a model the champion, whatever its evaluation says."""
    from modelmill.pipelines.display import registry
    from modelmill.pipelines.models import champions, versions
    from modelmill.store import open_store

    opened = open_store(store)
    settled = champions.promote(opened, model, versions.registered(opened, model, store), version, reason)
    registry.tell_champion(model, settled, as_json)
