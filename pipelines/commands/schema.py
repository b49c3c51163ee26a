"""`modelmill schema`."""

from pathlib import Path
from typing import Annotated

import typer

from modelmill.core.errors import UserError
from modelmill.pipelines.commands.options import AsJson
from modelmill.pipelines.display.text import print_json

EXAMPLE = "modelmill schema -o recipes/schema.json"


def command(
    task: Annotated[str | None, typer.Argument(help="The task whose recipes it takes; all if not given.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the schema to this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print the JSON schema of recipes, by which an editor completes and checks them.

    An editor with a YAML language server uses it in a recipe that begins with the line
    `# yaml-language-server: $schema=FILE`, where FILE is relative to the recipe.
    """
    from modelmill.recipe import schema, task_packages
    from modelmill.recipe.load import did_you_mean

    known = task_packages.packages()
    if task is not None and task not in known:
        raise UserError(f"{task}: no such task{did_you_mean(task, known)}")
    text = schema.text([task] if task else None)
    if output is None:
        print(text, end="")
        return
    try:
        output.write_text(text, "utf-8")
    except OSError as error:
        raise UserError(f"--output {output}: cannot be written ({error.strerror})") from error
    size = output.stat().st_size
    print_json({"file": str(output), "bytes": size}) if as_json else print(f"{output}  {size:,} bytes")
