"""Conversations as a served model is asked them: checked, and as token ids in the model's chat template."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from modelmill.corpus.text.chat_tokens import ChatTokens
from modelmill.corpus.text.conversations.conversation import BadConversationError, Message
from modelmill.corpus.text.conversations.exchanges import SYSTEM
from modelmill.corpus.text.conversations.messages import read_messages
from modelmill.corpus.text.conversations.tool_calls import check_results, read_tools
from modelmill.corpus.text.shown import UnfitTemplateError
from modelmill.tasks.serving.model import refusal
from modelmill.tasks.serving.settings import Settings


class Prompt(NamedTuple):
    """A conversation up to where the answer begins.

    Attributes:
        ids: Its token ids.
        dropped: How many messages were left out because it was too long.
        tools: Names of the tools that the answer may call.
    """

    ids: list[int]
    dropped: int
    tools: frozenset[str] = frozenset()


def read(request: Mapping[str, Any]) -> tuple[list[Message], list[dict[str, Any]]]:
    """Return the messages and the tools of a request, in the shape that training reads.

    Args:
        request: `messages`, and `tools`, `tool_choice` and `response_format` where it has them.

    Raises:
        MlflowException: They make no sense, or ask for what is not done.
    """
    given = {name: _plain(value) for name, value in request.items()}
    choice, form = given.get("tool_choice") or "auto", given.get("response_format") or {"type": "text"}
    if choice not in ("auto", "none"):
        raise refusal(f"tool_choice: {choice} is not possible; it is auto or none")
    if form != {"type": "text"}:
        raise refusal(f"response_format: {form} is not possible: answers are text; leave it out")
    try:
        messages, _ = read_messages(given.get("messages"), "messages")
        check_results(messages, "messages")
        tools = read_tools(given.get("tools")) if choice == "auto" else []
    except BadConversationError as error:
        raise refusal(str(error)) from error
    if messages[-1]["role"] not in ("user", "tool"):
        raise refusal(
            f"messages: the last one is the {messages[-1]['role']}'s, which asks for no answer; end with the user's"
        )
    return messages, tools


def prompt(
    messages: list[Message], tools: list[dict[str, Any]], tokens: ChatTokens, length: int, settings: Settings
) -> Prompt:
    """Return a conversation in the template, with room for an answer.

    Args:
        messages: The messages.
        tools: JSON schemas of tools.
        tokens: The template in token ids.
        length: Tokens that conversation and answer share.
        settings: How to answer, and whether turns may be dropped.

    Raises:
        MlflowException: The template does not take the conversation, or it is too long.
    """
    first = next((n for n, message in enumerate(messages) if message["role"] not in SYSTEM), 0)
    head, tail = messages[:first], messages[first:]
    wanted = length - min(settings.most, length // 2) if settings.drops_turns else length - 1
    while (size := len(ids := _ids([*head, *tail], tools, tokens))) > wanted:
        turns = [n for n, message in enumerate(tail) if n and message["role"] == "user"]
        if not (settings.drops_turns and turns):
            raise refusal(
                f"messages: {size:,} tokens in the chat template, and {length:,} fit with the answer; "
                + ("shorten the last ones" if settings.drops_turns else "drop old ones, or set truncation: auto")
            )
        tail = tail[turns[0] :]
    names = frozenset(str(tool.get("function", tool)["name"]) for tool in tools)
    return Prompt(ids, len(messages) - len(head) - len(tail), names)


def _ids(messages: list[Message], tools: list[dict[str, Any]], tokens: ChatTokens) -> list[int]:
    try:
        return tokens.asked_messages(messages, tools)
    except UnfitTemplateError as error:
        raise refusal(f"messages: the model's chat template {error}") from error


def _plain(value: Any) -> Any:
    """Return a value without arrays, which tables hold in place of lists; what is missing in one is None."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return None if isinstance(value, float) and value != value else value
