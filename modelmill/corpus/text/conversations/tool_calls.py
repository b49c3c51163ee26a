"""Tools, calls of them and their results, as chat templates take them."""

from typing import Any

from modelmill.corpus.text.conversations.conversation import BadConversationError, Message
from modelmill.corpus.text.conversations.values import kind, listed, objects, parsed

# Marks of calls that an assistant has written as text, as older data sets have them.
_WRITTEN = ("<tool_call>", "<function_call>", "<functioncall>", "<function=", "[TOOL_CALLS]", "<|python_tag|>")


def read_tools(value: Any) -> list[dict[str, Any]]:
    """Return the JSON schemas of tools, unchanged.

    Args:
        value: A list of schemas, its JSON text, or None for no tools.

    Raises:
        BadConversationError: The value is no list of tools that have a name.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return []
    tools = objects(value, "tools")
    for number, tool in enumerate(tools, 1):
        function = tool.get("function", tool)
        if not isinstance(function, dict) or not _is_name(function.get("name")):
            raise BadConversationError(f"tools: tool {number} has no name")
    return tools


def read_calls(value: Any, where: str) -> list[dict[str, Any]]:
    """Return calls in the shape of OpenAI's interface, but with their arguments as objects, as templates take them.

    Args:
        value: Calls, each a `function` or an object of `name` and `arguments`; arguments are an object or JSON text.
        where: Name of the message in errors.

    Raises:
        BadConversationError: A call has no name, or its arguments are no object.
    """
    return [_read_call(call, f"{where}: tool call {n}") for n, call in enumerate(listed(value, where), 1)]


def _read_call(call: dict[str, Any], where: str) -> dict[str, Any]:
    function = call.get("function", call)
    if call.get("type", "function") != "function" or not isinstance(function, dict):
        raise BadConversationError(f"{where} is no call of a function")
    if not _is_name(function.get("name")):
        raise BadConversationError(f"{where} has no name")
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        arguments = parsed(arguments, f"{where} ({function['name']}): arguments")
    if not isinstance(arguments, dict):
        raise BadConversationError(f"{where} ({function['name']}): arguments are {kind(arguments)}, not an object")
    identity = {} if call.get("id") is None else {"id": call["id"]}
    return {**identity, "type": "function", "function": {"name": function["name"], "arguments": arguments}}


def check_results(messages: list[Message], where: str) -> None:
    """Check that every tool result answers a call before it, and none twice.

    A result answers the call of its `tool_call_id`; without one, or where the calls have no ids, the first that is
    still open. Calls that are never answered are allowed.

    Args:
        messages: The messages.
        where: Name of the messages in errors.

    Raises:
        BadConversationError: A result answers no call.
    """
    open_calls: list[dict[str, Any]] = []
    is_written = False
    for turn, message in enumerate(messages, 1):
        if message["role"] == "assistant":
            open_calls += message.get("tool_calls", [])
            is_written = any(mark in message.get("content", "") for mark in _WRITTEN)
        elif message["role"] == "tool" and not is_written:
            answered = _answered(message, open_calls)
            if answered is None:
                named = f" {message['tool_call_id']!r}" if "tool_call_id" in message else ""
                raise BadConversationError(f"{where}: turn {turn} is a tool result without a call{named}")
            open_calls.remove(answered)


def _answered(result: Message, calls: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the call that a result answers."""
    wanted = result.get("tool_call_id")
    if wanted is None:
        return next(iter(calls), None)
    return next((call for call in calls if call.get("id", wanted) == wanted), None)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
