"""schedules.yaml: which recipes run when; read and checked before anything is asked of a cluster."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError

from modelmill.core.errors import UserError
from modelmill.pipelines.cluster import cron, files, zones
from modelmill.recipe.load import explain
from modelmill.recipe.sections import Section


def _cron(text: str) -> str:
    cron.parse(text)
    return text


def _zone(name: str) -> str:
    zones.zone(name)
    return name


class Schedule(Section):
    """A recipe that runs again and again."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")] = Field(
        description="Name that tells schedules apart: lower-case letters, digits and hyphens, 40 at most."
    )
    recipe: str = Field(min_length=1, description="Recipe's file, relative to this one.")
    cron: Annotated[str, AfterValidator(_cron)] = Field(
        description="Minute, hour, day of month, month and day of week; or `@hourly`, `@daily`, `@weekly`, "
        "`@monthly`, `@yearly`."
    )
    time_zone: Annotated[str, AfterValidator(_zone)] = Field(
        default="UTC", description="Time zone in which `cron` is read, such as `Europe/Berlin`."
    )
    max_concurrency: int = Field(default=1, ge=1, le=10, description="Most of its runs that are under way at a time.")
    catch_up: bool = Field(
        default=False, description="Whether missed times are made up for one by one; else only the last of them is."
    )
    enabled: bool = Field(default=True, description="Whether it runs; false pauses it and keeps it.")
    if_changed: bool = Field(
        default=True,
        description="Whether a run looks for new data first, and trains only for a reason (`data.retrain` of the "
        "recipe); else every step starts, and finds what is unchanged done.",
    )
    overrides: list[str] = Field(
        default=[], description="Keys of the recipe that are overridden, each as `--set` takes it."
    )


def load(path: Path) -> list[Schedule]:
    """Return the schedules of a file; the recipes' paths are relative to its folder.

    Args:
        path: File to read, with a list under the key `schedules`.

    Raises:
        UserError: It cannot be read, or a key, a cron line or a time zone in it is wrong.
    """
    document = files.read(path, str(path), "no such file; the schedules.yaml beside recipes/ is one to copy")
    if not isinstance(document, dict) or set(document) != {"schedules"} or not isinstance(document["schedules"], list):
        raise UserError(f"{path}: write a list under the key schedules, and nothing beside it")
    schedules = [_schedule(entry, f"{path}: schedules.{number}") for number, entry in enumerate(document["schedules"])]
    names = [one.name for one in schedules]
    for twice in (name for name in names if names.count(name) > 1):
        raise UserError(f"{path}: two schedules have the name {twice!r}; a name is what tells them apart")
    return [one.model_copy(update={"recipe": str(path.parent / one.recipe)}) for one in schedules]


def _schedule(entry: object, where: str) -> Schedule:
    if not isinstance(entry, dict):
        raise UserError(f"{where}: a schedule is a mapping with name, recipe and cron")
    where += f" ({entry['name']})" if "name" in entry else ""
    try:
        return Schedule.model_validate(entry)
    except ValidationError as error:
        raise UserError(f"{where}: {explain(error, Schedule)}") from error
