"""`modelmill data profile`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from modelmill.core.errors import UserError
from modelmill.pipelines.commands.data.arguments import (
    Columns,
    DataPath,
    Format,
    LayoutOption,
    Media,
    PairsColumns,
    PairsFrom,
    find_format,
    find_layout,
    find_shards,
    with_json,
)
from modelmill.pipelines.commands.options import AsJson
from modelmill.pipelines.display.text import print_json
from modelmill.pipelines.writing import writing

EXAMPLE = "modelmill data profile data/python-lm -o suite.json"
MOST_ROWS = 10


def command(
    path: DataPath,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write a suite to edit into this file.")] = None,
    format_: Format = "auto",
    media: Media = None,
    layout: LayoutOption = None,
    column: Columns = [],  # noqa: B006
    pairs_from: PairsFrom = None,
    pairs_column: PairsColumns = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Show what the columns of data look like, and draft a suite that they keep."""
    if output is not None and output.exists():
        raise UserError(f"-o {output}: is there already, and may have been edited; take another name or remove it")
    found = find_layout(path, format_, media, layout)
    shards = find_shards(path, format_, found, column)
    seen = find_format(shards, pairs_from, pairs_column)
    from modelmill.components.data_validation.api import of_format
    from modelmill.components.data_validation.contract import draft
    from modelmill.pipelines.display import columns, quarantine

    name = output.stem if output else "suite"
    held = of_format(seen)
    drafted = draft(path, with_json(shards, held, column), name, lambda done, total, text: None, held)
    if output is not None:
        with writing(f"-o {output}"):
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(json.dumps(drafted.suite, indent=2) + "\n")
    if as_json:
        print_json(columns.as_json(drafted, seen) | {"layout": found.layout, "media": found.media})
        return
    columns.show(drafted)
    quarantine.show_malformed(drafted.malformed[:MOST_ROWS])
    if seen:
        columns.show_format(drafted, seen)
    columns.show_layout(found)
    rows, count = drafted.profile.rows, len(drafted.suite["expectations"])
    print(f"{rows:,} rows" + (f"; a suite of {count} expectations is in {output}: edit it" if output else ""))
