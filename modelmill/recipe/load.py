"""From a YAML file and overrides to a recipe, or to one line that says what is wrong with it."""

import difflib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from modelmill.core.errors import UserError
from modelmill.recipe import task_packages
from modelmill.recipe.sections import STAGES, Recipe


def load(path: Path, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe, apply `section.key=value` overrides, resolve its paths and take in its suite.

    Raises:
        UserError: the file cannot be read, a key is unknown, a value is out of range, or the suite is not JSON.
    """
    document = _read_yaml(path)
    for override in overrides or []:
        _apply(document, override)
    recipe = parse(document, where=str(path))
    return _resolve(recipe, path)


def parse(document: Any, where: str) -> Recipe:
    """Validate a recipe that is already a mapping.

    Raises:
        UserError: naming `where`, the key and, for an unknown key, the nearest known one.
    """
    if not isinstance(document, dict):
        raise UserError(f"{where}: a recipe is a mapping of sections, this is {type(document).__name__}")
    task, known = document.get("task"), task_packages.packages()
    if task not in known:
        raise UserError(f"{where}: task: {task!r} is not one of {', '.join(known)}{_did_you_mean(str(task), known)}")
    kind: type[Recipe] = task_packages.part(task, "recipe").Recipe
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise UserError(f"{where}: {explain(error, kind)}") from error


def from_json(text: str) -> Recipe:
    """A recipe from the JSON that `to_json` made."""
    return parse(json.loads(text), where="recipe")


def to_json(recipe: Recipe) -> str:
    """The resolved recipe as one line of JSON, every default written out."""
    document = recipe.model_dump(mode="json", by_alias=True)
    return json.dumps(document | {k: "none" for k in STAGES if document[k] is None}, sort_keys=True)


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads `1e-3` as text; people mean the number. Of a key that is there twice, YAML keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key in [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} is there twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def _yaml(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader


def _read_yaml(path: Path) -> Any:
    try:
        document = _yaml(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such recipe; the ones that ship are in recipes/") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line}: not valid YAML: {getattr(error, 'problem', error)}") from error
    return document


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
        value = _yaml(text)
    except yaml.YAMLError:
        raise UserError(f"--set {override}: {text!r} is not a YAML value") from None
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
    if source := given_tokenizer(recipe):
        given = recipe.preprocessing.tokenizer  # type: ignore[attr-defined]
        tokenizer = given.model_copy(update={"source": _absolute(base, source)})
        changes["preprocessing"] = recipe.preprocessing.model_copy(update={"tokenizer": tokenizer})
    return recipe.model_copy(update=changes)


def given_tokenizer(recipe: Recipe) -> str | None:
    """The model folder or version that the recipe takes its tokenizer from, so that nothing is fitted."""
    tokenizer = getattr(recipe.preprocessing, "tokenizer", None)
    return tokenizer.source if tokenizer is not None else None


def _absolute(base: Path, path: str) -> str:
    is_uri = "://" in path or path.startswith("models:/")
    return path if is_uri else os.path.normpath(base / Path(path).expanduser())


def _read_suite(base: Path, recipe: Recipe, path: Path) -> dict[str, Any]:
    if isinstance(recipe.data.suite, dict):
        return recipe.data.suite
    return read_suite(Path(_absolute(base, recipe.data.suite)), where=f"{path}: data.suite")


def read_suite(file: Path, where: str) -> dict[str, Any]:
    """A Great Expectations suite, as far as it can be checked without Great Expectations.

    Raises:
        UserError: naming `where` the file is asked for, if it cannot be read.
    """
    try:
        suite = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"{where}: {file}: {error.strerror or error}") from error
    except ValueError as error:
        raise UserError(f"{file}: the suite is not JSON: {error}") from error
    if not isinstance(suite, dict) or not isinstance(suite.get("expectations"), list):
        raise UserError(f"{file}: a suite is an object with a list `expectations`")
    return suite


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first problem, with its key as a person writes it."""
    first = error.errors()[0]
    section, shown = _walk(model, first["loc"])
    key = ".".join(shown)
    if first["type"] == "extra_forbidden":
        known = [f.alias or name for name, f in section.model_fields.items()] if section else []
        return f"{key}: unknown key{_did_you_mean(shown[-1], known)}"
    if first["type"] == "missing":
        return f"{key}: this key is needed"
    message = first["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    value = first["input"]
    if isinstance(value, (dict, list)) or first["type"] == "value_error":
        return f"{key}: {message}" if key else message
    return f"{key}: {message}, got {value!r}"


def _walk(model: type[BaseModel], keys: tuple[int | str, ...]) -> tuple[type[BaseModel] | None, list[str]]:
    """The section that holds the last key, and the keys as written, without the names pydantic adds for unions."""
    shown: list[str] = []
    section: type[BaseModel] | None = model
    inner: type[BaseModel] | None = model
    for key in keys:
        if isinstance(key, int):
            shown.append(str(key))
        elif inner is not None:
            section = inner
            field = {f.alias or name: f for name, f in inner.model_fields.items()}.get(str(key))
            inner = next(_models(field.annotation), None) if field else None
            shown.append(str(key))
    return section, shown


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Every model that an annotation names, through unions, lists and Annotated."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _did_you_mean(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}" if known else ""
