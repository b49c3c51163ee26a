"""`modelmill import`."""

from typing import Annotated

import typer

from modelmill.pipelines.commands.options import DEFAULT_STORE, AsJson, StoreUri
from modelmill.pipelines.display.text import print_json

EXAMPLE = "modelmill import hf://HuggingFaceTB/SmolLM2-135M@main --as smollm2-135m"


def command(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A folder, s3://BUCKET/PREFIX or hf://ORG/NAME@REVISION.")
    ],
    name: Annotated[str, typer.Option("--as", metavar="NAME", help="Name of the registered model.")],
    store: StoreUri = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Bring a base model into store and registry, so that recipes start from models:/NAME/VERSION.

    The same files again are the same version.
    """
    from modelmill.pipelines.display import importing as lines
    from modelmill.pipelines.models import importing
    from modelmill.store import open_store

    imported = importing.bring(open_store(store), source, name, lines.teller())
    if as_json:
        print_json(imported.to_json())
    else:
        lines.show(imported)
