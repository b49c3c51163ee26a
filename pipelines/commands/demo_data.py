"""`modelmill demo-data`."""

from pathlib import Path
from typing import Annotated

import typer

from modelmill.pipelines.commands.options import AsJson
from modelmill.pipelines.display.text import print_json

EXAMPLE = "modelmill demo-data python-lm"


def command(
    name: Annotated[str, typer.Argument(help="The name of a recipe that ships, such as tabular-mlp.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The folder; data/NAME if not given.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the data that a demo recipe trains on, from what is on this machine or in a Python package."""
    from modelmill.pipelines import demo_data

    files = demo_data.write(name, output or Path("data") / name)
    size = sum(file.stat().st_size for file in files)
    if as_json:
        print_json({"files": [str(file) for file in files], "bytes": size})
    else:
        print(f"{files[0].parent}  {len(files)} {'file' if len(files) == 1 else 'files'}, {size:,} bytes")
