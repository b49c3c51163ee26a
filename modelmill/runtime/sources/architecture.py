"""Whether `transformers` has a model's architecture itself, found without importing it, which takes seconds."""

import functools
import importlib.metadata
import importlib.util
import re
from pathlib import Path
from typing import Any

from modelmill.core.errors import UserError

# Where versions of transformers have their table of architectures.
_TABLES = ("auto_mappings.py", "configuration_auto.py")
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


@functools.cache
def known() -> frozenset[str]:
    """Return the architectures of the installed transformers; none where that cannot be told."""
    spec = importlib.util.find_spec("transformers")
    places = spec.submodule_search_locations if spec else None
    folder = Path(next(iter(places))) / "models" / "auto" if places else Path()
    files = [folder / name for name in _TABLES if (folder / name).is_file()]
    return frozenset(name for file in files for name in _ENTRY.findall(file.read_text("utf-8")))


def _version() -> str:
    return importlib.metadata.version("transformers")
