"""Formats of conversations, preferences and labelled answers: a row of a data set as one of them, checked."""

from collections.abc import Callable, Mapping
from typing import Any

from modelmill.corpus.text.conversations.conversation import (
    BadConversationError,
    Conversation,
    Labelled,
    Message,
    Preference,
)
from modelmill.corpus.text.conversations.messages import normalised, read_messages
from modelmill.corpus.text.conversations.names import FORMATS, columns
from modelmill.corpus.text.conversations.sharegpt import as_messages
from modelmill.corpus.text.conversations.tool_calls import check_results, read_tools
from modelmill.corpus.text.conversations.values import is_json_of_messages, kind, parsed

__all__ = ["FORMATS", "BadConversationError", "Example", "columns", "of_row"]

Example = Conversation | Preference | Labelled


def of_row(format: str, row: Mapping[str, Any]) -> Example:
    """Return the example of a row. A preference's answers may be equal; all else that makes no sense is an error.

    Messages come out in one shape whatever they came in: `content` is text, and is missing at most beside
    `tool_calls`; these are in the shape of OpenAI's interface with arguments as objects; keys that are null are gone.

    Args:
        format: One of FORMATS.
        row: Values by the standard names of the format's columns; optional ones may be missing or null.

    Raises:
        BadConversationError: The row is not of the format or makes no sense.
    """
    for name in FORMATS[format].required:
        if row.get(name) is None:
            raise BadConversationError(f"{name} is missing or null")
    return _READERS[format](row)


def _of_messages(row: Mapping[str, Any]) -> Conversation:
    return _conversation(*read_messages(row["messages"], "messages"), row, "messages")


def _of_sharegpt(row: Mapping[str, Any]) -> Conversation:
    turns = as_messages(row["conversations"], "conversations")
    messages, weights = normalised(turns, "conversations")
    if system := _system(row):
        if messages[0]["role"] == "system":
            raise BadConversationError("system and the first turn of conversations are both system messages")
        messages, weights = [*system, *messages], [0.0, *weights] if weights else None
    return _conversation(messages, weights, row, "conversations")


def _of_alpaca(row: Mapping[str, Any]) -> Conversation:
    instruction = _said("user", row, "instruction")
    if row.get("input"):
        instruction["content"] += "\n" + _said("user", row, "input")["content"]
    messages = [*_system(row), *_history(row.get("history")), instruction, _said("assistant", row, "output")]
    return Conversation(messages)


def _of_preferences(row: Mapping[str, Any]) -> Preference:
    prompt = None if row.get("prompt") in (None, []) else _side(row, "prompt", "user")
    chosen, rejected = (_side(row, name, "assistant") for name in ("chosen", "rejected"))
    if "assistant" not in (chosen[0]["role"], rejected[0]["role"]):
        prompt, chosen, rejected = _without_prompt(prompt, chosen, rejected)
    if prompt is None:
        raise BadConversationError("there is no prompt, and chosen and rejected do not hold it: name its column")
    for name, answer in (("chosen", chosen), ("rejected", rejected)):
        _check_answer(prompt, answer, name)
    return Preference(prompt, chosen, rejected, read_tools(row.get("tools")))


def _of_labelled(row: Mapping[str, Any]) -> Labelled:
    label = row["label"]
    if label not in (True, False):
        raise BadConversationError(f"label: {label!r} is neither true nor false")
    prompt, completion = _side(row, "prompt", "user"), _side(row, "completion", "assistant")
    _check_answer(prompt, completion, "completion")
    return Labelled(prompt, completion, bool(label), read_tools(row.get("tools")))


_READERS: dict[str, Callable[[Mapping[str, Any]], Example]] = {
    "messages": _of_messages,
    "sharegpt": _of_sharegpt,
    "alpaca": _of_alpaca,
    "preferences": _of_preferences,
    "labelled": _of_labelled,
}


def _conversation(
    messages: list[Message], weights: list[float] | None, row: Mapping[str, Any], where: str
) -> Conversation:
    """Return a checked conversation."""
    roles = [message["role"] for message in messages]
    if "assistant" not in roles:
        raise BadConversationError(f"{where}: there is no assistant turn to learn")
    if weights is not None and not any(weights):
        raise BadConversationError(f"{where}: every assistant turn has the weight 0: there is nothing to learn")
    check_results(messages, where)
    return Conversation(messages, read_tools(row.get("tools")), weights)


def _said(role: str, row: Mapping[str, Any], name: str) -> Message:
    """Return the message of a column of text."""
    if not isinstance(row[name], str):
        raise BadConversationError(f"{name} is {kind(row[name])}, not text")
    return {"role": role, "content": row[name]}


def _system(row: Mapping[str, Any]) -> list[Message]:
    return [_said("system", row, "system")] if row.get("system") else []


def _history(value: Any) -> list[Message]:
    """Return the messages of earlier rounds, each a list of an instruction and its output."""
    messages: list[Message] = []
    rounds = parsed(value, "history") if isinstance(value, str) and value.strip() else value or []
    if not isinstance(rounds, list):
        raise BadConversationError(f"history: {kind(rounds)} where a list belongs")
    for number, turns in enumerate(rounds, 1):
        if not isinstance(turns, list) or len(turns) != 2 or not all(isinstance(text, str) for text in turns):
            raise BadConversationError(f"history: item {number} is no pair of an instruction and its output")
        messages += [{"role": "user", "content": turns[0]}, {"role": "assistant", "content": turns[1]}]
    return messages


def _side(row: Mapping[str, Any], name: str, role: str) -> list[Message]:
    """Return the messages of a column of text, of messages, or of messages as JSON text."""
    value = row[name]
    if isinstance(value, str) and not is_json_of_messages(value):
        return [_said(role, row, name)]
    return read_messages(value, name)[0]


def _without_prompt(
    prompt: list[Message] | None, chosen: list[Message], rejected: list[Message]
) -> tuple[list[Message], list[Message], list[Message]]:
    """Return the messages that two whole conversations begin with, and what follows in each.

    Some data sets have a column `prompt` all the same; it must then say what the conversations begin with.
    """
    shared = 0
    while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
        shared += 1
    before = chosen[:shared]
    if prompt is not None and prompt not in (before, before[-1:], [m for m in before if m["role"] == "user"][:1]):
        raise BadConversationError("chosen and rejected begin with something else than the prompt")
    return before, chosen[shared:], rejected[shared:]


def _check_answer(prompt: list[Message], answer: list[Message], name: str) -> None:
    """Check that an answer is one of the assistant's, and that there is something to answer."""
    if not any(_is_said(message) for message in prompt):
        raise BadConversationError(f"{name} has no prompt before it: the prompt is empty")
    if answer[0]["role"] != "assistant":
        raise BadConversationError(f"{name} begins with the {answer[0]['role']}'s turn, not with the assistant's")
    if not any(_is_said(message) for message in answer):
        raise BadConversationError(f"{name} is empty")
    check_results([*prompt, *answer], f"prompt and {name}")


def _is_said(message: Message) -> bool:
    return bool(message.get("content", "").strip() or message.get("tool_calls"))
