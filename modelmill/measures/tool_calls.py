"""Calls of tools in what a model says, and whether they are the right ones."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

# Names that families of models have for the parts of a call.
NAMES, ARGUMENTS = ("name", "tool_name"), ("arguments", "parameters")
_DECODER = json.JSONDecoder()


class Call(NamedTuple):
    """A call of a tool.

    Attributes:
        name: Name of the tool.
        arguments: Its arguments as canonical JSON, so that equal arguments are equal texts.
    """

    name: str
    arguments: str


class Place(NamedTuple):
    """Where calls stand in a text.

    Attributes:
        begin: Place of their JSON value.
        end: Place after it.
        calls: The calls.
    """

    begin: int
    end: int
    calls: list[Call]


def of_message(message: Mapping[str, Any]) -> list[Call]:
    """Return the calls of a message in OpenAI's shape.

    Args:
        message: The message; what is malformed in its `tool_calls` is no call.
    """
    return list(_calls_in(message.get("tool_calls") or []))


def of_text(text: str) -> list[Call]:
    """Return the calls in what a model said, in order; see `places_in`.

    Args:
        text: The text.
    """
    return [call for place in places_in(text) for call in place.calls]


def places_in(text: str) -> list[Place]:
    """Return where a model calls tools: JSON objects with a name and arguments, wherever they stand.

    That is how the templates of most families write them, between marks or without (Hermes, Qwen 2.5 and 3, Llama 3,
    Mistral up to its third tokenizer, Granite, Command R). Calls that are written otherwise are not found.

    Args:
        text: The text.
    """
    found: list[Place] = []
    begin = _next(text, 0)
    while begin is not None:
        try:
            value, end = _DECODER.raw_decode(text, begin)
        except ValueError:
            value, end = None, begin + 1
        except RecursionError:
            break  # so would be nearly all that follows
        if calls := list(_calls_in(value)):
            found.append(Place(begin, end, calls))
        begin = _next(text, end)
    return found


def are_same(true: Iterable[Call], found: Iterable[Call]) -> bool:
    """Return whether the same tools are called with the same arguments, in any order."""
    return sorted(true) == sorted(found)


def _next(text: str, place: int) -> int | None:
    places = [found for bracket in "{[" if (found := text.find(bracket, place)) >= 0]
    return min(places, default=None)


def _calls_in(value: Any) -> Iterator[Call]:
    """Yield the calls in a JSON value; what a call is made with is not searched."""
    if isinstance(value, list):
        for one in value:
            yield from _calls_in(one)
    if not isinstance(value, dict):
        return
    if (call := _call(value)) is not None:
        yield call
        return
    for one in value.values():
        yield from _calls_in(one)


def _call(value: dict[str, Any]) -> Call | None:
    name = next((value[key] for key in NAMES if isinstance(value.get(key), str)), None)
    arguments = next((value[key] for key in ARGUMENTS if key in value), None)
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return None
    if name is None or not isinstance(arguments, dict):
        return None
    return Call(name, json.dumps(_canonical(arguments), sort_keys=True, ensure_ascii=False))


def _canonical(value: Any) -> Any:
    """Return a JSON value in which whole numbers are integers: 3.0 is 3."""
    if isinstance(value, dict):
        return {key: _canonical(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_canonical(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
