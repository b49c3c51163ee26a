"""`modelmill lineage`."""

from typing import Annotated

import typer

from modelmill.core.errors import UserError
from modelmill.pipelines.commands.options import DEFAULT_STORE, AsJson, StoreUri
from modelmill.pipelines.display.text import print_json

EXAMPLE = "modelmill lineage tabular-mlp@champion"


def command(
    model: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="MODEL, MODEL@ALIAS or MODEL/VERSION.")] = None,
    shard: Annotated[
        str | None, typer.Option("--shard", metavar="PATH_OR_SHA256", help="Say which versions this shard went into.")
    ] = None,
    store: StoreUri = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Show what a registered version was made from, down to its shards; or what was made from a shard."""
    from modelmill.pipelines.display import lineage as tree
    from modelmill.pipelines.models import lineage, versions
    from modelmill.runtime import tracking
    from modelmill.store import open_store

    opened = open_store(store)
    if shard is not None and model is None:
        made_from_it = lineage.of_shard(opened, shard, tracking.registered(opened))
        print_json(made_from_it) if as_json else tree.show_shard(made_from_it)
    elif model is not None and shard is None:
        origin = lineage.of_version(opened, versions.find(opened, model))
        print_json(origin) if as_json else tree.show_version(origin)
    else:
        raise UserError("lineage: name a MODEL, or a shard with --shard; one of the two")
