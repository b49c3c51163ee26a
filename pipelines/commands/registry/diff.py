"""`modelmill registry diff`."""

from typing import Annotated

import typer

from modelmill.pipelines.commands.options import DEFAULT_STORE, AsJson, Model, StoreUri
from modelmill.pipelines.display.text import print_json

EXAMPLE = "modelmill registry diff tabular-mlp 1 2"


def command(
    model: Model,
    a: Annotated[str, typer.Argument(help="A version, or an alias such as @previous.")],
    b: Annotated[str, typer.Argument(help="Another.")],
    store: StoreUri = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Show what differs between two versions: settings, shards of the data, metrics, code."""
    from modelmill.pipelines.models import differences, versions
    from modelmill.store import open_store

    opened = open_store(store)
    known = versions.registered(opened, model, store)
    one, other = (versions.pick(opened, model, known, chosen) for chosen in (a, b))
    between = differences.between(opened, one, other)
    if as_json:
        print_json({"model": model, "a": one.version, "b": other.version, **between})
        return
    from modelmill.pipelines.display import registry

    registry.show_differences(one.version, other.version, between)
