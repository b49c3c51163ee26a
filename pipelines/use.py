"""`modelmill predict | lineage | gc`: what can be done with what runs have left."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from modelmill.core.errors import UserError
from modelmill.pipelines.display.text import DEFAULT_STORE, AsJson, StoreUri, print_json

DAY = 24 * 3600
# So long that a line which is read by a program is not wrapped.
_WIDE = 10_000
ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="MODEL, MODEL@ALIAS or MODEL/VERSION.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(epilog="Example: modelmill predict tabular-mlp rows.jsonl --output answers.jsonl")(predict)
    app.command(epilog="Example: modelmill lineage tabular-mlp@champion")(lineage)
    app.command(epilog="Example: modelmill gc --dry")(gc)


def predict(
    model: ModelName,
    rows: Annotated[
        str,
        typer.Argument(metavar="INPUT", help="JSON Lines, or CSV by its name; - reads JSON Lines from standard input."),
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file for the answers.")] = None,
    store: StoreUri = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Ask a registered version: JSON Lines or CSV in, JSON Lines out, an answer a row.

    Without an alias or a version that is the champion, else the newest version that is verified. Its files are compared
    with what was registered before they are loaded, and every row is looked at before the first is answered.
    """
    from modelmill.pipelines.models import predict as predicting
    from modelmill.pipelines.models import rows as reading
    from modelmill.pipelines.models import versions as models
    from modelmill.store import open_store

    opened = open_store(store)
    with reading.readable(rows) as given:
        version = models.find(opened, model)
        with predicting.opened(opened, version) as (columns, load):
            total = reading.count(reading.read(given, rows, columns), rows)
            asked = reading.read(given, rows, columns)
            kept: list[dict[str, Any]] = []
            with predicting.writable(output) as target, _progress("predicting", total, output is not None) as told:
                for batch in predicting.answers(load(), columns, asked):
                    if as_json and output is None:
                        kept += batch
                    else:
                        target.writelines(json.dumps(answer) + "\n" for answer in batch)
                    told(len(batch))
    if as_json:
        shown = {"output": str(output)} if output is not None else {"predictions": kept}
        print_json({"model": version.name, "version": version.version, "rows": total, **shown})
    elif output is not None:
        print(f"{output}  {total:,} {'row' if total == 1 else 'rows'} by {version}")


def lineage(
    model: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="MODEL, MODEL@ALIAS or MODEL/VERSION.")] = None,
    shard: Annotated[
        str | None, typer.Option("--shard", metavar="PATH_OR_SHA256", help="Say which versions this shard went into.")
    ] = None,
    store: StoreUri = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Show what a registered version was made from, down to its shards; or what was made from a shard."""
    from modelmill.pipelines.display import lineage as lineage_text
    from modelmill.pipelines.models import lineage as lines
    from modelmill.pipelines.models import versions as models
    from modelmill.runtime import tracking
    from modelmill.store import open_store

    opened = open_store(store)
    if shard is not None and model is None:
        found = lines.of_shard(opened, shard, tracking.registered(opened))
        print_json(found) if as_json else lineage_text.show_shard(found)
    elif model is not None and shard is None:
        made = lines.of_version(opened, models.find(opened, model))
        if as_json:
            print_json(made)
        else:
            Console(width=None if sys.stdout.isatty() else _WIDE).print(lineage_text.tree(made))
    else:
        raise UserError("lineage: name a MODEL, or a shard with --shard; one of the two")


def gc(
    dry: Annotated[bool, typer.Option("--dry", help="List what would be deleted; delete nothing.")] = False,
    keep_days: Annotated[float, typer.Option("--keep-days", min=0, help="How long a run's work is kept.")] = 30,
    store: StoreUri = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Delete what no registered version, no recent run and no running step reaches.

    Nothing younger than a day is deleted. What is needed again is made again.
    """
    from modelmill.pipelines.retention import deletion as collecting
    from modelmill.pipelines.retention.reachable import Reachable
    from modelmill.store import open_store

    opened = open_store(store)
    reachable = Reachable(opened, keep_days * DAY)
    found = collecting.find(reachable)
    if not dry:
        with _progress("deleting", len(found), True) as told:
            found = collecting.delete(opened, reachable, found, told)
    size = sum(one.bytes for one in found)
    if as_json:
        print_json({"dry": dry, "objects": len(found), "bytes": size, "keys": [one.key for one in found]})
        return
    if dry:
        for one in found:
            print(f"{one.key}  {one.bytes:,} bytes")
    objects = "1 object" if len(found) == 1 else f"{len(found):,} objects"
    print(f"{objects}, {size:,} bytes {'would be ' if dry else ''}deleted")


@contextmanager
def _progress(doing: str, total: int, is_shown: bool) -> Iterator[Callable[[int], None]]:
    """What is told how many more are done; a bar on a terminal."""
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not (is_shown and console.is_terminal)) as bar:
        task = bar.add_task(doing, total=total)
        yield lambda more: bar.advance(task, more)
