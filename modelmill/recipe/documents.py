"""YAML and JSON as a person writes them, read with bounds: no document takes long to refuse."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from modelmill.core.errors import UserError, one_line

# Far beyond what a recipe or a suite needs. Values are counted after aliases: a few lines of those can stand for
# billions.
MOST_BYTES, MOST_NODES, MOST_LEVELS = 8 << 20, 200_000, 64
MOST_DIGITS = 40
# What PyYAML raises of a text that is no value of its tag, such as `2026-13-45` or `!!int abc`.
_NO_VALUE = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError)


def read_yaml(path: Path) -> Any:
    """Return the document of a YAML file.

    Raises:
        UserError: The file is not there or not a regular one, or no YAML within bounds; the message has file and line.
    """
    try:
        return parse_yaml(_text_of(path, str(path)))
    except FileNotFoundError:
        raise UserError(f"{path}: no such recipe; the ones that ship are in recipes/") from None
    except _NO_VALUE as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line}: not valid YAML: {_why(error)}") from error


def parse_yaml(text: str) -> Any:
    """Return the document of a YAML text.

    Raises:
        yaml.YAMLError: It is no YAML, or beyond the bounds.
        Exception: A tag does not fit its value; one of several types.
    """
    loader = _Loader(text)
    try:
        document = loader.get_single_data()
    finally:
        loader.dispose()
    if beyond := _beyond_bounds(document):
        raise yaml.YAMLError(beyond)
    return document


def read_json(file: Path, where: str, what: str) -> Any:
    """Return the document of a JSON file.

    Args:
        file: The file.
        where: Key or option that names the file, for messages.
        what: What the file should be, for messages.

    Raises:
        UserError: The file cannot be read, or is no JSON within bounds.
    """
    try:
        document = json.loads(_text_of(file, where))
    except FileNotFoundError as error:
        raise UserError(f"{where}: {file}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: the {what} is not JSON: {_why(error)}") from error
    if beyond := _beyond_bounds(document):
        raise UserError(f"{file}: the {what} {beyond}")
    return document


def _text_of(path: Path, where: str) -> str:
    """Return the text of a regular file; a pipe would be waited for.

    Raises:
        FileNotFoundError: There is none.
        UserError: It cannot be read, or is too large.
    """
    named = where if where == str(path) else f"{where}: {path}"
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{named}: is not a regular file")
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise UserError(f"{named}: has more than {MOST_BYTES >> 20} MiB")
        return data.decode("utf-8")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"{named}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # not UTF-8, or a name that no file has
        raise UserError(f"{named}: cannot be read: {_why(error)}") from error


def _beyond_bounds(document: Any) -> str | None:
    """Return in what a document is beyond the bounds, None if it is within."""
    nodes, rest = 0, [(document, 1)]
    while rest:
        value, level = rest.pop()
        nodes += 1
        if nodes > MOST_NODES:
            return f"has more than {MOST_NODES:,} values, aliases counted each time"
        if level > MOST_LEVELS:
            return f"is nested more than {MOST_LEVELS} levels deep"
        if isinstance(value, dict):
            rest += [(part, level + 1) for pair in value.items() for part in pair]
        elif isinstance(value, list):
            rest += [(part, level + 1) for part in value]
        elif isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
            return "has half of a surrogate pair in a text, which is no character"
        elif isinstance(value, int) and abs(value) >= 10**MOST_DIGITS:
            return f"has an integer of more than {MOST_DIGITS} digits"
    return None


def _why(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return f"nested more than {MOST_LEVELS} levels deep"
    return one_line(Exception(getattr(error, "problem", None) or str(error)))[:200]


class _Loader(yaml.SafeLoader):
    """A SafeLoader that reads `1e-3` as a number, which YAML 1.1 takes for text, and refuses a key that is twice.

    It refuses an alias of what it is part of, and merges (`<<`) that multiply.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._open: list[str | None] = []

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()
        anchor = getattr(event, "anchor", None)
        problem = ""
        if isinstance(event, yaml.AliasEvent) and anchor in self._open:
            problem = f"*{anchor} is part of what it stands for"
        elif len(self._open) >= MOST_LEVELS:
            problem = f"nested more than {MOST_LEVELS} levels deep"
        if problem:
            raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
        self._open.append(None if isinstance(event, yaml.AliasEvent) else anchor)
        node = super().compose_node(parent, index)
        self._open.pop()
        return node

    def flatten_mapping(self, node: Any) -> None:
        super().flatten_mapping(node)
        if len(node.value) > MOST_NODES:
            raise yaml.constructor.ConstructorError(
                None, None, f"merges more than {MOST_NODES:,} keys", node.start_mark
            )

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
