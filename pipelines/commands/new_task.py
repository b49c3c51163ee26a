"""`modelmill new-task`."""

from pathlib import Path
from typing import Annotated

import typer

from modelmill.pipelines.commands.options import AsJson
from modelmill.pipelines.display.text import print_json

EXAMPLE = "modelmill new-task shapes"


def command(
    name: Annotated[str, typer.Argument(help="The task's name: lower-case letters, digits and _.")],
    into: Annotated[
        Path | None, typer.Option("--into", help="A checkout of Modelmill, or where to make a distribution.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a package for a new kind of model that runs as it is, with recipe, suite and test."""
    from modelmill.pipelines import new_task

    folder = into or Path()
    files = new_task.write(name, folder)
    if as_json:
        print_json({"files": [str(file) for file in files]})
        return
    for file in files:
        print(file)
    print("\nTry it:")
    for line in new_task.next_commands(name, folder):
        print(f"  {line}")
