"""Loading of recipes: from a YAML file and overrides to settings, or to one line that says what is wrong."""

import difflib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from modelmill.core.digest import canonical_json
from modelmill.core.errors import UserError
from modelmill.recipe import documents, task_check, task_packages
from modelmill.recipe.sections import STAGES, Recipe

# Characters of a value that a message shows.
_MOST_SHOWN = 100


def load(path: Path, overrides: list[str] | None = None) -> Recipe:
    """Return the recipe of a file, with absolute paths and the suite itself in the place of its path.

    Args:
        path: YAML file to read.
        overrides: Keys to override, each as `section.key=value`.

    Raises:
        UserError: The file cannot be read, a key is unknown, a value is out of range, or the suite is not JSON.
    """
    document = documents.read_yaml(path)
    for override in overrides or []:
        _apply(document, override)
    recipe = parse(document, where=str(path))
    return _resolve(recipe, path)


def parse(document: Any, where: str) -> Recipe:
    """Return the recipe that a mapping is.

    Args:
        document: Mapping of sections, as YAML or JSON has it.
        where: Where the mapping is from, for messages.

    Raises:
        UserError: It is no recipe; the message has the key and, for an unknown one, the nearest that is known.
    """
    if not isinstance(document, dict):
        raise UserError(f"{where}: a recipe is a mapping of sections, this is {type(document).__name__}")
    task, known = document.get("task"), task_packages.packages()
    if not isinstance(task, str) or task not in known:
        raise UserError(
            f"{where}: task: {shortened(task)} is not one of {', '.join(known)}{did_you_mean(str(task), known)}"
        )
    task_check.check(task)
    kind = task_packages.recipe_type(task)
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise UserError(f"{where}: {explain(error, kind)}") from error


def from_json(text: str) -> Recipe:
    """Return the recipe that `to_json` has written."""
    return parse(json.loads(text), where="recipe")


def to_json(recipe: Recipe) -> str:
    """Return a recipe as canonical JSON, every default written out."""
    document = recipe.model_dump(mode="json", by_alias=True)
    return canonical_json(document | {k: "none" for k in STAGES if document[k] is None}).decode()


def _apply(document: Any, override: str) -> None:
    """Set one dotted key in place; the value is read as YAML, so `1e-3` needs no quotes and `none` is a word."""
    key, separator, text = override.partition("=")
    if not separator or not key.strip(".") or not isinstance(document, dict):
        raise UserError(f"--set {override}: write section.key=value, for example --set fine_tuning.steps=50")
    *sections, last = key.split(".")
    for section in sections:
        if not isinstance(document.get(section), dict):
            document[section] = {}
        document = document[section]
    try:
        value = documents.parse_yaml(text)
    except Exception:  # whatever PyYAML raises of it
        raise UserError(f"--set {override:.200}: not a YAML value") from None
    document[last] = value


def _resolve(recipe: Recipe, path: Path) -> Recipe:
    """Make paths absolute, relative to the recipe's folder, and replace the suite's path with the suite."""
    base = path.resolve().parent
    data = recipe.data.model_copy(
        update={"path": _absolute(base, recipe.data.path), "suite": _read_suite(base, recipe, path)}
    )
    changes: dict[str, Any] = {"data": data}
    if recipe.pretraining is not None and recipe.pretraining.init != "random":
        init = _absolute(base, recipe.pretraining.init)
        changes["pretraining"] = recipe.pretraining.model_copy(update={"init": init})
    if source := recipe.preprocessing.given_checkpoint:
        changes["preprocessing"] = recipe.preprocessing.with_checkpoint(_absolute(base, source))
    if recipe.fine_tuning is not None and recipe.fine_tuning.teacher is not None:
        changes["fine_tuning"] = recipe.fine_tuning.with_teacher(_absolute(base, recipe.fine_tuning.teacher))
    return recipe.model_copy(update=changes)


def _absolute(base: Path, path: str) -> str:
    is_uri = "://" in path or path.startswith("models:/")
    try:
        return path if is_uri else os.path.normpath(base / Path(path).expanduser())
    except RuntimeError:
        raise UserError(f"{path:.200}: there is no home folder of that user") from None


def _read_suite(base: Path, recipe: Recipe, path: Path) -> dict[str, Any]:
    if isinstance(recipe.data.suite, dict):
        return recipe.data.suite
    return read_suite(Path(_absolute(base, recipe.data.suite)), where=f"{path}: data.suite")


def read_suite(file: Path, where: str) -> dict[str, Any]:
    """Return a Great Expectations suite, checked as far as that goes without Great Expectations.

    Args:
        file: JSON file to read.
        where: Key or option that names the file, for messages.

    Raises:
        UserError: The file cannot be read, or is no suite.
    """
    suite = documents.read_json(file, where, "suite")
    if not isinstance(suite, dict) or not isinstance(suite.get("expectations"), list):
        raise UserError(f"{file}: a suite is an object with a list `expectations`")
    return dict(suite)


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Return the first problem of an error, with its key as a person writes it.

    Args:
        error: What pydantic says of a document.
        model: Model that the document was held against.
    """
    first = error.errors()[0]
    section, shown = _walk(model, first["loc"])
    key = ".".join(shown)
    if first["type"] == "extra_forbidden":
        known = [f.alias or name for name, f in section.model_fields.items()] if section else []
        return f"{key}: unknown key{did_you_mean(shown[-1], known)}"
    if first["type"] == "missing":
        return f"{key}: this key is needed"
    message = first["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    value = first["input"]
    if isinstance(value, (dict, list)) or first["type"] == "value_error":
        return f"{key}: {message}" if key else message
    return f"{key}: {message}, got {shortened(value)}"


def shortened(value: Any) -> str:
    """Return a value for a message: its first characters."""
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def _walk(model: type[BaseModel], keys: tuple[int | str, ...]) -> tuple[type[BaseModel] | None, list[str]]:
    """Return the section that holds the last key, and the keys without the names that pydantic adds for unions."""
    shown: list[str] = []
    section: type[BaseModel] | None = model
    choices: list[type[BaseModel]] = [model]
    for key in keys:
        if isinstance(key, int):
            shown.append(str(key))
        elif tagged := [one for one in choices if len(choices) > 1 and _has_type(one, key)]:
            choices = tagged
        elif choices:
            section = choices[0]
            field = {f.alias or name: f for name, f in section.model_fields.items()}.get(str(key))
            choices = list(_models(field.annotation)) if field else []
            shown.append(str(key))
    return section, shown


def _has_type(section: type[BaseModel], tag: str) -> bool:
    """Return whether a section is the one of a union that a type stands for."""
    field = section.model_fields.get("type")
    return field is not None and tag in get_args(field.annotation)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield every model that an annotation names, through unions, lists and Annotated."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown word: the nearest known one, or all that are known.

    Args:
        word: Word that was written.
        known: Words that are known.
    """
    words = list(known)
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(words)}" if words else ""
