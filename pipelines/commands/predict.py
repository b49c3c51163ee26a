"""`modelmill predict`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from modelmill.pipelines.commands.options import DEFAULT_STORE, AsJson, ModelOrVersion, StoreUri
from modelmill.pipelines.display.text import print_json

EXAMPLE = "modelmill predict tabular-mlp rows.jsonl --output answers.jsonl"


def command(
    model: ModelOrVersion,
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
    from modelmill.pipelines.display import progress
    from modelmill.pipelines.models import predict, versions
    from modelmill.pipelines.models import rows as questions
    from modelmill.store import open_store

    opened = open_store(store)
    with questions.readable(rows) as given:
        version = versions.find(opened, model)
        with predict.opened(opened, version) as (columns, load):
            total = questions.count(questions.read(given, rows, columns), rows)
            asked = questions.read(given, rows, columns)
            kept: list[dict[str, Any]] = []
            with (
                predict.writable(output) as target,
                progress.bar("predicting", total, is_shown=output is not None) as advance,
            ):
                for batch in predict.answers(load(), columns, asked):
                    if as_json and output is None:
                        kept += batch
                    else:
                        target.writelines(json.dumps(answer) + "\n" for answer in batch)
                    advance(len(batch))
    if as_json:
        shown = {"output": str(output)} if output is not None else {"predictions": kept}
        print_json({"model": version.name, "version": version.version, "rows": total, **shown})
    elif output is not None:
        print(f"{output}  {total:,} {'row' if total == 1 else 'rows'} by {version}")
