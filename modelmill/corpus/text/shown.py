"""Checks that a template shows a conversation, so that no part of it is lost in silence."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from modelmill.corpus.text.conversations.conversation import Message

THOUGHT = "</think>"


class UnfitTemplateError(ValueError):
    """A template that shows a conversation in no form that can be learned; the message says why."""


def shows(text: str, part: str) -> bool:
    """Return whether a text shows a part; white space may differ, and JSON may escape it."""
    part = part.strip()
    if part in text or json.dumps(part, ensure_ascii=False)[1:-1] in text:
        return True
    return "".join(part.split()) in "".join(text.split())


def require_context(text: str, messages: Sequence[Message], tools: Sequence[Message]) -> None:
    """Check that a text shows the messages before a response, and the tools; past thinking may be left out.

    Raises:
        UnfitTemplateError: It leaves one out.
    """
    for tool in tools:
        name = tool.get("function", tool).get("name", "")
        if not shows(text, str(name)):
            raise UnfitTemplateError(f"does not show the tool {name!r}")
    for number, message in enumerate(messages, start=1):
        for part in texts_of(message):
            part = part.rpartition(THOUGHT)[2] if message.get("role") == "assistant" else part
            if not shows(text, part):
                raise UnfitTemplateError(f"does not show {_named(number, message, messages)}")
        require_calls(text, message)


def require_calls(text: str, message: Message) -> None:
    """Check that a text shows the tool calls of a message.

    Raises:
        UnfitTemplateError: It leaves one out.
    """
    for call in message.get("tool_calls") or []:
        function = call.get("function", call)
        arguments = function.get("arguments")
        values = _values(json.loads(arguments) if _is_json(arguments) else arguments)
        for part in (function.get("name"), *values):
            if not shows(text, str(part)):
                raise UnfitTemplateError(f"does not show {str(part)[:40]!r} of a tool call")


def texts_of(message: Message) -> list[str]:
    """Return the texts of a message's content."""
    content = message.get("content")
    if isinstance(content, str):
        return [content]
    return [part["text"] for part in content or [] if isinstance(part, dict) and isinstance(part.get("text"), str)]


def _values(value: Any) -> Iterator[Any]:
    """Yield the texts and whole numbers in arguments; other values are written in several ways."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield key
            yield from _values(one)
    elif isinstance(value, list):
        for one in value:
            yield from _values(one)
    elif isinstance(value, str) or type(value) is int:
        yield value


def _is_json(text: Any) -> bool:
    if not isinstance(text, str):
        return False
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _named(number: int, message: Message, messages: Sequence[Message]) -> str:
    return "the prompt" if len(messages) == 1 else f"message {number}, of role {message.get('role')!r}"
