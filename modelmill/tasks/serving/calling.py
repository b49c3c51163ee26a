"""Calls of tools in an answer, apart from what is said beside them."""

import itertools
import re
from collections.abc import Collection
from typing import NamedTuple

from modelmill.measures import tool_calls
from modelmill.measures.tool_calls import Call

# What templates write around calls: <tool_call>, <|python_tag|>, [TOOL_CALLS], ```json.
_MARK = r"(?:</?\|?\w+\|?>|\[/?[A-Z_]+\]|```\w*)"
_OPENING, _CLOSING = re.compile(rf"{_MARK}$"), re.compile(rf"^\s*(?:{_MARK})?[\s,;]*")
_FIRST = re.compile(r"[{\[<`]")


class Said(NamedTuple):
    """An answer.

    Attributes:
        content: What is said beside the calls; all of it where there are none.
        calls: The calls.
    """

    content: str
    calls: list[Call]


def read(text: str, tools: Collection[str]) -> Said:
    """Return an answer with its calls apart; one that calls a tool that was not offered is text.

    Args:
        text: The answer's text.
        tools: Names of the tools that the request offers.
    """
    found = tool_calls.places_in(text) if tools else []
    calls = [call for one in found for call in one.calls]
    if not calls or any(call.name not in tools for call in calls):
        return Said(text, [])
    edges = [0, *itertools.chain.from_iterable((one.begin, one.end) for one in found), len(text)]
    before, *after = (text[begin:end] for begin, end in zip(edges[::2], edges[1::2], strict=True))
    *between, last = (_CLOSING.sub("", part) for part in after)
    beside = [_OPENING.sub("", part.rstrip()).rstrip() for part in (before, *between)]
    return Said("\n".join(part for part in (*beside, last.rstrip()) if part), calls)


def certain(text: str, tools: Collection[str]) -> str:
    """Return the beginning of an unfinished answer that is said beside calls, however it goes on.

    Args:
        text: The answer's text so far.
        tools: Names of the tools that the request offers.
    """
    return _FIRST.split(text, maxsplit=1)[0].rstrip() if tools else text
