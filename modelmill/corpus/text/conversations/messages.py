"""Messages of a conversation: read from a row, made equal in shape, and checked."""

import math
from typing import Any

from modelmill.corpus.text.conversations.conversation import BadConversationError, Message
from modelmill.corpus.text.conversations.tool_calls import read_calls
from modelmill.corpus.text.conversations.values import kind, objects

ROLES = ("system", "developer", "user", "assistant", "tool")
# Keys that say how much a turn weighs in the loss; templates do not see them.
_WEIGHTS = ("weight", "train")


def read_messages(value: Any, where: str) -> tuple[list[Message], list[float] | None]:
    """Return the messages of a column; see `normalised`.

    Args:
        value: Objects of `role` and `content`, or their JSON text.
        where: Name of the column in errors.

    Raises:
        BadConversationError: See `normalised`.
    """
    return normalised(objects(value, where), where)


def normalised(given: list[dict[str, Any]], where: str) -> tuple[list[Message], list[float] | None]:
    """Return messages in one shape, and what each weighs in the loss, or None where no message says.

    Text that comes in parts is joined by newlines, as servers of chat models join it. Keys that are null are dropped.

    Args:
        given: Objects of `role` and `content`.
        where: Name of the messages in errors.

    Raises:
        BadConversationError: There are none, or one has no known role, no text, or a weight that is none.
    """
    if not given:
        raise BadConversationError(f"{where} is empty")
    messages = [_read_message(message, f"{where}: turn {turn}") for turn, message in enumerate(given, 1)]
    if not any(message.get(key) is not None for message in given for key in _WEIGHTS):
        return messages, None
    return messages, [_weight(message, f"{where}: turn {turn}") for turn, message in enumerate(given, 1)]


def _read_message(given: dict[str, Any], where: str) -> Message:
    role = given.get("role")
    if role not in ROLES:
        what = "has no role" if role is None else f"has the unknown role {role!r}"
        raise BadConversationError(f"{where} {what}; roles are {', '.join(ROLES)}")
    message: Message = {"role": role}
    has_calls = bool(given.get("tool_calls"))
    if has_calls and role != "assistant":
        raise BadConversationError(f"{where}: only the assistant calls tools, and this turn is the {role}'s")
    if given.get("content") is not None:
        message["content"] = _text(given["content"], where)
    elif not has_calls:
        raise BadConversationError(f"{where} ({role}) has no content")
    rest = {key: value for key, value in given.items() if value is not None}
    for key in ("role", "content", "tool_calls", *_WEIGHTS):
        rest.pop(key, None)
    message |= rest
    if has_calls:
        message["tool_calls"] = read_calls(given["tool_calls"], where)
    return message


def _text(content: Any, where: str) -> str:
    """Return the text of a content, which is text or a list of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BadConversationError(f"{where}: content is {kind(content)}, not text")
    return "\n".join(_part(part, where) for part in content)


def _part(part: Any, where: str) -> str:
    if isinstance(part, str):
        return part
    type_ = part.get("type", "text") if isinstance(part, dict) else kind(part)
    if type_ != "text" or not isinstance(part.get("text"), str):
        raise BadConversationError(f"{where}: content has a part of type {type_!r}; only text can be learned")
    text: str = part["text"]
    return text


def _weight(given: dict[str, Any], where: str) -> float:
    """Return what a turn weighs: what it says, else 1 for the assistant's and 0 for any other."""
    is_assistant = given["role"] == "assistant"
    said = [given[key] for key in _WEIGHTS if given.get(key) is not None]
    for value in said:
        if not isinstance(value, bool | int | float) or not math.isfinite(value) or value < 0:
            raise BadConversationError(f"{where}: the weight {value!r} is no number of 0 or more")
    weight = math.prod(float(value) for value in said) if said else float(is_assistant)
    if weight and not is_assistant:
        whose = f"the {given['role']}'s"
        raise BadConversationError(
            f"{where}: only the assistant's turns are learned, and this turn of weight is {whose}"
        )
    return weight
