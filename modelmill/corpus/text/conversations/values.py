"""Nested values of a row as Python's, without what the file format has added to them."""

import json
from typing import Any

from modelmill.corpus.text.conversations.conversation import BadConversationError
from modelmill.data.nested_text import without_nulls


def parsed(text: str, where: str) -> Any:
    """Return the value of a JSON text.

    Args:
        text: The text.
        where: Name of the value in errors.

    Raises:
        BadConversationError: The text is no JSON.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair is no text
        return value
    except (ValueError, RecursionError) as error:
        raise BadConversationError(f"{where}: {text[:40]!r} is not valid JSON ({error})") from None


def is_json_of_messages(text: str) -> bool:
    """Tell whether a text is a JSON list of objects that have a role, and not something that somebody has said."""
    if not text.lstrip().startswith("["):
        return False
    try:
        value = parsed(text, "")
    except BadConversationError:
        return False
    return bool(value) and all(isinstance(item, dict) and "role" in item for item in value)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def objects(value: Any, where: str) -> list[dict[str, Any]]:
    """Return a list of objects, which may be JSON text.

    Args:
        value: The list, or its JSON text.
        where: Name of the value in errors.

    Raises:
        BadConversationError: The value is not a list of objects.
    """
    return listed(parsed(value, where) if isinstance(value, str) else without_nulls(value), where)


def listed(value: Any, where: str) -> list[dict[str, Any]]:
    """Return a list of objects, with its nulls.

    Args:
        value: The list.
        where: Name of the value in errors.

    Raises:
        BadConversationError: The value is not a list of objects.
    """
    if not isinstance(value, list):
        raise BadConversationError(f"{where}: {kind(value)} where a list belongs")
    for place, item in enumerate(value, 1):
        if not isinstance(item, dict):
            raise BadConversationError(f"{where}: item {place} is {kind(item)} where an object belongs")
    return value


def kind(value: Any) -> str:
    """Return what a value is, for messages."""
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), f"a {type(value).__name__}")
