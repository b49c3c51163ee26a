"""`modelmill demo-model`."""

from pathlib import Path
from typing import Annotated

import typer

from modelmill.pipelines.commands.options import AsJson
from modelmill.pipelines.display.text import print_json

EXAMPLE = "modelmill demo-model smollm2"


def command(
    name: Annotated[
        str,
        typer.Argument(
            help="The model: efficientnet (EfficientNet-Lite0), minilm (all-MiniLM-L6-v2), smollm2 "
            "(SmolLM2-135M-Instruct) or whisper (Whisper tiny.en)."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The folder for models/NAME and for the data of its recipe.")
    ] = Path("data"),
    as_json: AsJson = False,
) -> None:
    """Write a base model to fine-tune, from the Python package that holds it, and the data of its recipe."""
    from modelmill.pipelines import demo_model

    written = demo_model.write(name, output)
    size = sum(file.stat().st_size for file in written.model.iterdir())
    if as_json:
        made = {"model": str(written.model), "data": str(written.data), "bytes": size, "is_new": written.is_new}
        print_json(made)
    else:
        print(f"{written.model}  {'made' if written.is_new else 'there already'}, {size:,} bytes\n{written.data}")
