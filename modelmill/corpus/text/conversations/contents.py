"""What a conversation, preference or labelled answer says, as text."""

from collections.abc import Callable
from typing import Any

from modelmill.corpus.text.conversations.conversation import Conversation, Labelled, Message, Preference
from modelmill.corpus.text.conversations.formats import Example

# Keys of a message that nobody has said.
_NAMES = ("role", "name", "tool_call_id")


def messages_of(example: Example) -> list[Message]:
    """Return all messages in order; of a preference those of the prompt, the chosen and the rejected answer."""
    if isinstance(example, Conversation):
        return example.messages
    if isinstance(example, Preference):
        return [*example.prompt, *example.chosen, *example.rejected]
    return [*example.prompt, *example.completion]


def text_of(example: Example) -> str:
    """Return the contents of all messages, joined by newlines."""
    return "\n".join(message["content"] for message in messages_of(example) if message.get("content"))


def identity_of(example: Example) -> str:
    """Return the text that decides the split: the first message of the user, so that a prompt is in one split only."""
    said = (message["content"] for message in messages_of(example) if message["role"] == "user")
    return next(said, text_of(example))


def mended(example: Example, mend: Callable[[str], str]) -> Example:
    """Return an example with every text that somebody has said changed, in arguments of tool calls as well.

    Args:
        example: The example.
        mend: Function from a text to the changed text.
    """
    if isinstance(example, Conversation):
        return example._replace(messages=_mended(example.messages, mend))
    if isinstance(example, Preference):
        prompt, chosen, rejected = (_mended(side, mend) for side in example[:3])
        return example._replace(prompt=prompt, chosen=chosen, rejected=rejected)
    assert isinstance(example, Labelled)
    prompt, completion = (_mended(side, mend) for side in example[:2])
    return example._replace(prompt=prompt, completion=completion)


def _mended(messages: list[Message], mend: Callable[[str], str]) -> list[Message]:
    return [
        {key: value if key in _NAMES else _inside(key, value, mend) for key, value in message.items()}
        for message in messages
    ]


def _inside(key: str, value: Any, mend: Callable[[str], str]) -> Any:
    """Return a value with its texts changed; of tool calls only the arguments' texts."""
    if key == "tool_calls":
        return [
            {**call, "function": {**call["function"], "arguments": _inside("", call["function"]["arguments"], mend)}}
            for call in value
        ]
    if isinstance(value, str):
        return mend(value)
    if isinstance(value, list):
        return [_inside("", inner, mend) for inner in value]
    if isinstance(value, dict):
        return {name: _inside("", inner, mend) for name, inner in value.items()}
    return value
