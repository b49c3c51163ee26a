"""Whether `transformers` has a model's architecture itself, found without importing it, which takes seconds."""

import ast
import functools
import importlib.metadata
import importlib.util
import re
from pathlib import Path
from typing import Any

from modelmill.core.errors import UserError

# Where versions of transformers have their table of architectures.
_TABLES = ("auto_mappings.py", "configuration_auto.py")
_HEADS = "modeling_auto.py"
# Networks of ours that transformers knows once `modelmill.models.vision.classifier` is imported.
_OURS = {"AutoModelForImageClassification": {"modelmill_vision": "VisionForImageClassification"}}
# Architectures that a message names.
_SHOWN = 20
_ENTRY = re.compile(r"""["']([\w.-]+)["']\s*[,:]\s*["']\w*Config["']""")


def check(where: str, config: dict[str, Any]) -> None:
    """Check that transformers knows the architecture that a configuration names.

    A configuration without `model_type` is of a model of ours, and is for its task to check.

    Args:
        where: Key and source, for messages.
        config: The content of `config.json`.

    Raises:
        UserError: transformers does not have it, or would run code that comes with the model.
    """
    kind, code = config.get("model_type"), config.get("auto_map")
    if (kind is None and not code) or (isinstance(kind, str) and (kind in known() or not known())):
        return
    said = f"{where}: its architecture, model_type {kind!r:.80}, is not one that transformers {_version()} has"
    if code:
        raise UserError(
            f"{said}: it needs code that comes with the model (auto_map in config.json), and such code is never run; "
            "take a model whose architecture is in transformers"
        )
    raise UserError(f"{said}; take another model, or a version of transformers that has it")


def require_head(where: str, config: dict[str, Any], heads: tuple[str, ...]) -> None:
    """Check that transformers has an architecture with a head.

    Args:
        where: Key and source, for messages.
        config: The content of `config.json`.
        heads: Classes such as `AutoModelForSequenceClassification`, of which one is enough.

    Raises:
        UserError: It has none.
    """
    every = {head: with_head(head) for head in heads}
    kind = config.get("model_type")
    if not all(every.values()) or any(kind in kinds for kinds in every.values()):
        return  # nothing can be told where transformers is not installed
    named = config.get("architectures")
    said = f"{named[0]}, model_type {kind!r:.80}" if isinstance(named, list) and named else f"model_type {kind!r:.80}"
    known = sorted({one for kinds in every.values() for one in kinds})
    such = f"{len(known)} families: " if len(known) > _SHOWN else ""
    such += ", ".join(known[:_SHOWN]) + (", ..." if len(known) > _SHOWN else "")
    raise UserError(
        f"{where}: it is a {said}, of which transformers {_version()} has no {' or '.join(heads)}; take one of {such}"
    )


@functools.cache
def with_head(head: str) -> dict[str, str]:
    """Return the class with a head of each architecture that has one; none where that cannot be told.

    Args:
        head: A class such as `AutoModelForSequenceClassification`.
    """
    file = _folder() / _HEADS
    if not file.is_file():
        return {}
    tables: dict[str, ast.expr] = {}
    mapping = None
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            tables[node.targets[0].id] = node.value
        if isinstance(node, ast.ClassDef) and node.name == head:
            mapping = next((one.value.id for one in node.body if _is_mapping(one)), None)  # type: ignore[attr-defined]
    table = tables.get(f"{mapping}_NAMES")
    if not isinstance(table, ast.Call) or not table.args:
        return {}
    entries: list[tuple[str, Any]] = ast.literal_eval(table.args[0])
    # Of several classes with the head, the first counts, as in transformers.
    return {kind: named if isinstance(named, str) else named[0] for kind, named in entries} | _OURS.get(head, {})


def _is_mapping(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id == "_model_mapping"
        and isinstance(node.value, ast.Name)
    )


@functools.cache
def known() -> frozenset[str]:
    """Return the architectures of the installed transformers; none where that cannot be told."""
    files = [_folder() / name for name in _TABLES if (_folder() / name).is_file()]
    names = frozenset(name for file in files for name in _ENTRY.findall(file.read_text("utf-8")))
    return names | {kind for kinds in _OURS.values() for kind in kinds} if names else names


def _folder() -> Path:
    """Return the folder of transformers with its tables; the current one where transformers is not installed."""
    spec = importlib.util.find_spec("transformers")
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places))) / "models" / "auto" if places else Path()


def _version() -> str:
    return importlib.metadata.version("transformers")
