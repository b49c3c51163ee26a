"""`modelmill data show`."""

from typing import Annotated

import typer

from modelmill.core.errors import UserError
from modelmill.pipelines.commands.options import DEFAULT_STORE, AsJson, StoreUri
from modelmill.pipelines.display.text import print_json

EXAMPLE = "modelmill data show part-00.jsonl"


def command(
    shard: Annotated[str, typer.Argument(help="The shard's path, as data quarantine lists it.")],
    run_id: Annotated[str | None, typer.Option("--run", help="The run; the latest if not given.")] = None,
    store: StoreUri = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Print why a shard was quarantined, with samples of its bad rows."""
    from modelmill.pipelines import quarantine
    from modelmill.pipelines.display import quarantine as lines

    run, left_out = quarantine.read(store, run_id)
    shards = left_out["shards"]
    chosen = next((one for one in shards if one["path"] == shard), None)
    if chosen is None:
        known = ", ".join(one["path"] for one in shards[:5]) or "none"
        raise UserError(f"{shard}: not quarantined in run {run}; quarantined are: {known}")
    print_json(chosen) if as_json else lines.show_shard(chosen)
