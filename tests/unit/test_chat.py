"""A conversation at the terminal, with a model that says what it is told to."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from modelmill.core.errors import UserError
from modelmill.pipelines.display import chat as display
from modelmill.pipelines.models.chat import Chat

Pieces = Callable[[], Iterator[str]]


class Told:
    """A model that answers each question with given pieces.

    Attributes:
        asked: The requests, with their parameters.
    """

    def __init__(self, *answers: Pieces, reason: str = "stop", dropped: int = 0) -> None:
        self.asked: list[tuple[Any, Any]] = []
        self._answers, self._reason, self._dropped = iter(answers), reason, dropped

    def predict_stream(self, request: Any, params: Any) -> Iterator[dict[str, Any]]:
        self.asked.append((request["messages"], params))
        for piece in next(self._answers)():
            yield {"choices": [{"delta": {"content": piece}}]}
        end: dict[str, Any] = {"choices": [{"delta": {}, "finish_reason": self._reason}]}
        custom = {"custom_outputs": {"dropped_messages": self._dropped}} if self._dropped else {}
        yield end | custom | {"usage": {"completion_tokens": 3}}


def words(*pieces: str) -> Pieces:
    return lambda: iter(pieces)


def interrupted(*pieces: str) -> Pieces:
    def say() -> Iterator[str]:
        yield from pieces
        raise KeyboardInterrupt

    return say


def refusing() -> Iterator[str]:
    raise MlflowException.invalid_parameter_value("messages: too long")
    yield ""


def hold(
    monkeypatch: pytest.MonkeyPatch, model: Told, *lines: str, is_terminal: bool = False, system: str | None = None
) -> list[dict[str, Any]]:
    typed = iter(lines)

    def read(prompt: str = "") -> str:
        assert prompt == ("> " if is_terminal else "")
        for line in typed:
            return line
        raise EOFError

    monkeypatch.setattr("builtins.input", read)
    monkeypatch.setattr("sys.stdin.isatty", lambda: is_terminal, raising=False)
    return display.hold(Chat(model, system, {"seed": 1}), "tiny version 1", is_quiet=False)


def test_each_line_is_a_message_and_the_model_sees_all_before(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Told(words("He", "llo\x1b[2J"), words("Again"))
    talk = hold(monkeypatch, model, "Hi", "  ", "And now?", system="Be kind")
    assert [message["content"] for message in talk] == ["Be kind", "Hi", "Hello\x1b[2J", "And now?", "Again"]
    assert [messages for messages, _ in model.asked] == [talk[:2], talk[:4]]
    assert model.asked[0][1] == {"seed": 1, "truncation": "auto"}
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("Hello\\x1b[2J\nAgain\n", "")


def test_an_interruption_ends_the_answer_and_not_the_conversation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Told(interrupted("Ye"), interrupted(), words("No"))
    talk = hold(monkeypatch, model, "One", "Two", "Three", is_terminal=True)
    assert [message["content"] for message in talk] == ["One", "Ye", "Three", "No"]
    assert capsys.readouterr().err.startswith("tiny version 1\n")


def test_what_the_model_did_not_see_or_could_not_end_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hold(monkeypatch, Told(words("So"), reason="length", dropped=2), "Hi")
    first, second = capsys.readouterr().err.splitlines()
    assert "the model did not see its oldest 2 messages" in first
    assert "the answer ends at 3 tokens; --max-tokens allows more" in second


def test_a_refusal_ends_a_conversation_unless_somebody_can_write_another_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match="the model refuses the conversation: messages: too long"):
        hold(monkeypatch, Told(refusing), "Hi")
    talk = hold(monkeypatch, Told(refusing, words("Hello")), "Hi", "Hey", is_terminal=True)
    assert [message["content"] for message in talk] == ["Hey", "Hello"]
    assert "messages: too long" in capsys.readouterr().err
