"""Conversations, preferences and labelled answers, whatever format they came in."""

from typing import Any, NamedTuple

# A message as chat templates take it: `role`, `content`, and of some `tool_calls`, `tool_call_id`, `name` or
# `reasoning_content`. Beside tool calls there may be no `content`; the arguments of a call are an object.
Message = dict[str, Any]


class BadConversationError(ValueError):
    """A row that is no conversation, preference or labelled answer; the message says where in the row, and why."""


class Conversation(NamedTuple):
    """Messages in order.

    Attributes:
        messages: The messages.
        tools: JSON schemas of the tools that the assistant may call.
        weights: Weight of each message in the loss; None where the roles alone decide.
    """

    messages: list[Message]
    tools: list[dict[str, Any]] = []
    weights: list[float] | None = None


class Preference(NamedTuple):
    """Two answers to one prompt, the better one first.

    Attributes:
        prompt: Messages before the answers.
        chosen: Messages of the better answer, the first of which is the assistant's.
        rejected: Messages of the worse answer.
        tools: JSON schemas of the tools that the assistant may call.
    """

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    tools: list[dict[str, Any]] = []


class Labelled(NamedTuple):
    """An answer that somebody called good or bad.

    Attributes:
        prompt: Messages before the answer.
        completion: Messages of the answer.
        is_good: Whether it is good.
        tools: JSON schemas of the tools that the assistant may call.
    """

    prompt: list[Message]
    completion: list[Message]
    is_good: bool
    tools: list[dict[str, Any]] = []
