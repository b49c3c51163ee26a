"""The trigger service as a process: its recipes, its log and uvicorn."""

import logging
from pathlib import Path

import uvicorn

from modelmill import recipe as recipes
from modelmill.core.errors import UserError
from modelmill.pipelines.trigger.asking import Starter
from modelmill.pipelines.trigger.connections import BACKLOG, BoundedProtocol
from modelmill.pipelines.trigger.server import application
from modelmill.pipelines.trigger.signing import Secrets
from modelmill.recipe import Recipe


def load_recipes(folder: Path) -> list[Recipe]:
    """Return every recipe (`*.yaml`, `*.yml`) of a folder.

    Raises:
        UserError: There is none, one cannot be read, or two have one name.
    """
    files = sorted(file for file in folder.glob("*") if file.suffix in {".yaml", ".yml"}) if folder.is_dir() else []
    if not files:
        raise UserError(f"--recipes {folder}: no recipes (*.yaml) in it")
    files_by_name: dict[str, Path] = {}
    loaded = []
    for file in files:
        recipe = recipes.load(file)
        if recipe.name in files_by_name:
            raise UserError(
                f"--recipes {folder}: {files_by_name[recipe.name].name} and {file.name} are both {recipe.name}"
            )
        files_by_name[recipe.name] = file
        loaded.append(recipe)
    return loaded


def serve(known: list[Recipe], starter: Starter, secrets: Secrets, poll: float, host: str, port: int) -> None:
    """Serve until the process is asked to end.

    Args:
        known: The recipes that may be asked for.
        starter: Starts runs.
        secrets: What requests are checked with.
        poll: Seconds between two looks at the data; 0 for none.
        host: The address to listen on.
        port: The port; 0 takes a free one.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # botocore's and kfp's own lines say nothing that a person acts on.
    for noisy in ("botocore", "boto3", "urllib3", "kfp"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    app = application(known, starter, secrets, poll)
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_config=None,
        server_header=False,
        access_log=False,
        http=BoundedProtocol,
        backlog=BACKLOG,
    )
