"""What chat templates are given: messages in the shape that a template takes, and messages to try it on."""

import json
from typing import NamedTuple

from modelmill.corpus.text.conversations.conversation import Message
from modelmill.corpus.text.shown import THOUGHT, texts_of

PROBE = ("Modelmill asks", "Modelmill answers")
TOOL = "modelmill_tool"
THINKS = "<think>"


class Shape(NamedTuple):
    """How a template takes tool calls: with arguments as text or as an object, and beside which empty content."""

    as_text: bool
    content: str | None


def probe() -> list[Message]:
    """Return a pair that a template is tried on."""
    return [{"role": role, "content": text} for role, text in zip(("user", "assistant"), PROBE, strict=True)]


def call_probe() -> tuple[list[Message], list[Message]]:
    """Return messages with a tool call that a template is tried on, and the tool."""
    place = {"type": "string", "description": "A place"}
    parameters = {"type": "object", "properties": {"place": place}, "required": ["place"]}
    tool = {"name": TOOL, "description": "A tool.", "parameters": parameters}
    call = {"name": TOOL, "arguments": {"place": "Millstone"}}
    calls = [{"id": "modelmill", "type": "function", "function": call}]
    said = {"role": "assistant", "content": None, "tool_calls": calls}
    return [probe()[0], said], [{"type": "function", "function": tool}]


def taken_by(message: Message, shape: Shape | None) -> Message:
    """Return a message as `transformers` gives it to templates: without nulls, with the names of thinking.

    Args:
        message: The message.
        shape: How the template takes tool calls; None leaves them as they are.
    """
    from transformers.utils.chat_template_utils import _alias_reasoning_fields

    taken = {key: value for key, value in message.items() if value is not None}
    if shape is not None and taken.get("tool_calls"):
        taken["tool_calls"] = [_call(call, shape) for call in taken["tool_calls"]]
        if shape.content is not None:
            taken.setdefault("content", shape.content)
    (aliased,) = _alias_reasoning_fields([taken])
    return dict(aliased)


def with_thinking(message: Message) -> Message:
    """Return a message with its thinking in the content, where DeepSeek-R1 writes it and others look for it."""
    told = f"{THINKS}\n{message['reasoning_content']}\n{THOUGHT}\n\n{''.join(texts_of(message))}"
    kept = {key: value for key, value in message.items() if key not in ("reasoning_content", "thinking", "reasoning")}
    return {**kept, "content": told}


def _call(call: Message, shape: Shape) -> Message:
    function = call.get("function", call)
    arguments = function.get("arguments")
    if shape.as_text and not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    elif not shape.as_text and isinstance(arguments, str):
        arguments = json.loads(arguments)
    changed = {**function, "arguments": arguments}
    return {**call, "function": changed} if "function" in call else changed
