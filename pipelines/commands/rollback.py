"""`modelmill rollback`."""

from typing import Annotated

import typer

from modelmill.pipelines.commands.options import DEFAULT_STORE, AsJson, Model, Reason, StoreUri

EXAMPLE = "modelmill rollback tabular-mlp --reason 'answers in the wrong language'"


def command(
    model: Model,
    to: Annotated[str | None, typer.Option("--to", help="The version; the previous champion if not given.")] = None,
    reason: Reason = "a person's choice",
    store: StoreUri = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Put the previous champion back; the version rolled back from is not promoted again but by a person."""
    from modelmill.pipelines.display import registry
    from modelmill.pipelines.models import champions, versions
    from modelmill.store import open_store

    opened = open_store(store)
    settled = champions.roll_back(opened, model, versions.registered(opened, model, store), to, reason)
    registry.tell_champion(model, settled, as_json)
