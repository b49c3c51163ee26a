"""`modelmill gc`."""

from typing import Annotated

import typer

from modelmill.pipelines.commands.options import DEFAULT_STORE, AsJson, StoreUri
from modelmill.pipelines.display.text import print_json

EXAMPLE = "modelmill gc --dry"
DAY = 24 * 3600


def command(
    dry: Annotated[bool, typer.Option("--dry", help="List what would be deleted; delete nothing.")] = False,
    keep_days: Annotated[float, typer.Option("--keep-days", min=0, help="How long a run's work is kept.")] = 30,
    store: StoreUri = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Delete what no registered version, no recent run and no running step reaches.

    Nothing younger than a day is deleted. What is needed again is made again.
    """
    from modelmill.pipelines.display import progress
    from modelmill.pipelines.retention import deletion
    from modelmill.pipelines.retention.reachable import Reachable
    from modelmill.store import open_store

    opened = open_store(store)
    reachable = Reachable(opened, keep_days * DAY)
    leftovers = deletion.find(reachable)
    if not dry:
        with progress.bar("deleting", len(leftovers)) as advance:
            leftovers = deletion.delete(opened, reachable, leftovers, advance)
    size = sum(one.bytes for one in leftovers)
    if as_json:
        print_json({"dry": dry, "objects": len(leftovers), "bytes": size, "keys": [one.key for one in leftovers]})
        return
    if dry:
        for one in leftovers:
            print(f"{one.key}  {one.bytes:,} bytes")
    objects = "1 object" if len(leftovers) == 1 else f"{len(leftovers):,} objects"
    print(f"{objects}, {size:,} bytes {'would be ' if dry else ''}deleted")
