"""schedules.yaml: which recipes run when; read and checked before anything is asked of a cluster."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError

from modelmill.core.errors import UserError
from modelmill.pipelines.cluster import cron, files, zones
from modelmill.recipe.load import explain
from modelmill.recipe.sections import Section

DEFAULT_SCHEDULES = "schedules.yaml"


def _cron(text: str) -> str:
    cron.parse(text)
    return text


def _zone(name: str) -> str:
    zones.zone(name)
    return name


class Schedule(Section):
    """A recipe that runs again and again.

    `cron` has five fields and is read in `time_zone`. At most `max_concurrency` of its runs are under way at a time.
    With `catch_up`, times that were missed are made up for one by one, else only the last of them. `overrides` are
    the recipe's, each as --set takes it. With `if_changed` a run looks for new data first, and ends within
    seconds where there is none.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")]
    recipe: str = Field(min_length=1)
    cron: Annotated[str, AfterValidator(_cron)]
    time_zone: Annotated[str, AfterValidator(_zone)] = "UTC"
    max_concurrency: int = Field(default=1, ge=1, le=10)
    catch_up: bool = False
    enabled: bool = True
    if_changed: bool = True
    overrides: list[str] = []


def load(path: Path) -> list[Schedule]:
    """Read the file, a list under the key `schedules`; the recipes' paths become relative to its folder.

    Raises:
        UserError: it cannot be read, or a key, a cron line or a time zone in it is wrong.
    """
    document = files.read(path, str(path), "no such file; the schedules.yaml beside recipes/ is one to copy")
    if not isinstance(document, dict) or set(document) != {"schedules"} or not isinstance(document["schedules"], list):
        raise UserError(f"{path}: write a list under the key schedules, and nothing beside it")
    found = [_schedule(entry, f"{path}: schedules.{number}") for number, entry in enumerate(document["schedules"])]
    names = [one.name for one in found]
    for twice in (name for name in names if names.count(name) > 1):
        raise UserError(f"{path}: two schedules have the name {twice!r}; a name is what tells them apart")
    return [one.model_copy(update={"recipe": str(path.parent / one.recipe)}) for one in found]


def _schedule(entry: object, where: str) -> Schedule:
    if not isinstance(entry, dict):
        raise UserError(f"{where}: a schedule is a mapping with name, recipe and cron")
    where += f" ({entry['name']})" if "name" in entry else ""
    try:
        return Schedule.model_validate(entry)
    except ValidationError as error:
        raise UserError(f"{where}: {explain(error, Schedule)}") from error
