"""Conversations of ShareGPT's format, `from` and `value`, as messages of `role` and `content`."""

from typing import Any

from modelmill.corpus.text.conversations.conversation import BadConversationError
from modelmill.corpus.text.conversations.values import kind, objects, parsed

# Names of speakers that data sets of this format have.
_ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "function_call": "assistant",
    "tool_call": "assistant",
    "observation": "tool",
    "tool": "tool",
    "tool_response": "tool",
    "function_response": "tool",
}
_CALLS = ("function_call", "tool_call")


def as_messages(value: Any, where: str) -> list[dict[str, Any]]:
    """Return the turns of a conversation as messages, not yet checked.

    Args:
        value: Objects of `from` and `value`, or their JSON text; the value of a `function_call` is a call or a list of
            calls, as JSON text.
        where: Name of the conversation in errors.

    Raises:
        BadConversationError: A turn is not of this format.
    """
    return [_as_message(turn, f"{where}: turn {number}") for number, turn in enumerate(objects(value, where), 1)]


def _as_message(turn: dict[str, Any], where: str) -> dict[str, Any]:
    speaker = turn.get("from")
    if speaker is None and "role" in turn:
        raise BadConversationError(
            f"{where} has role and content, not from and value: set from: messages, and name the column in "
            "columns: {messages: ...}"
        )
    if not isinstance(speaker, str) or speaker not in _ROLES:
        what = "has no from" if speaker is None else f"is from {speaker!r}, who is unknown"
        raise BadConversationError(f"{where} {what}; known are {', '.join(_ROLES)}")
    rest = {key: inner for key, inner in turn.items() if key not in ("from", "value")}
    if speaker not in _CALLS:
        return {**rest, "role": _ROLES[speaker], "content": turn.get("value")}
    said = turn.get("value")
    calls = parsed(said, f"{where}: call") if isinstance(said, str) else said
    if not calls:
        raise BadConversationError(f"{where} ({speaker}) holds {kind(calls)}, not a call")
    return {**rest, "role": "assistant", "tool_calls": calls if isinstance(calls, list) else [calls]}
