"""A conversation with a registered model: a line asks, and the answer comes piece by piece."""

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

from modelmill.core.errors import UserError
from modelmill.pipelines.models.package_check import Column
from modelmill.pipelines.models.refusals import refusing
from modelmill.runtime.tracking import Version

Message = dict[str, Any]


class Said(NamedTuple):
    """How an answer ended.

    Attributes:
        tokens: Its tokens; None where it was interrupted.
        is_cut: Whether it ended because it had as many tokens as it may have.
        dropped: Messages at the beginning that the model did not see, because the conversation is too long.
    """

    tokens: int | None
    is_cut: bool
    dropped: int


def require_chat(version: Version, columns: list[Column]) -> None:
    """Refuse a version that answers no conversations.

    Args:
        version: The version.
        columns: The columns that it reads.

    Raises:
        UserError: It does not read `messages`.
    """
    if not any(column.name == "messages" for column in columns):
        read = ", ".join(column.name for column in columns)
        raise UserError(
            f"--chat: {version} holds no conversations, it reads {read}; ask it rows, or train one with "
            "preprocessing.pairs.framing: chat"
        )


class Chat:
    """A conversation so far.

    Attributes:
        messages: Its messages.
    """

    def __init__(self, model: Any, system: str | None, params: dict[str, Any]) -> None:
        """Begin a conversation.

        Args:
            model: The loaded model.
            system: The system's message; None for none.
            params: Parameters of the answers.
        """
        self.messages: list[Message] = [{"role": "system", "content": system}] if system else []
        self._model = model
        # A terminal goes on where a server would refuse.
        self._params = {**params, "truncation": "auto"}

    def ask(self, text: str, show: Callable[[str], None]) -> Said:
        """Answer a message; an interruption (Ctrl-C) ends the answer where it is.

        Args:
            text: The user's message.
            show: Is given each piece of the answer.

        Raises:
            UserError: The model refuses the conversation, which is then without this message.
        """
        asked = [*self.messages, {"role": "user", "content": text}]
        answer, last = "", {}
        with refusing("the model refuses the conversation"), contextlib.suppress(KeyboardInterrupt):
            with contextlib.closing(self._model.predict_stream({"messages": asked}, params=self._params)) as stream:
                for chunk in stream:
                    piece = chunk["choices"][0]["delta"].get("content") or ""
                    answer += piece
                    show(piece)
            last = chunk
        if answer or last:
            self.messages = [*asked, {"role": "assistant", "content": answer}]
        if not last:
            return Said(None, False, 0)
        dropped = last.get("custom_outputs", {}).get("dropped_messages", 0)
        return Said(last["usage"]["completion_tokens"], last["choices"][0]["finish_reason"] == "length", dropped)
