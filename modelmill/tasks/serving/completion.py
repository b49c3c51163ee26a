"""Answers in the shape of MLflow's chat models, which is that of OpenAI's chat completions."""

import uuid
from collections.abc import Iterator
from typing import Any

from mlflow.types.llm import (
    ChatChoice,
    ChatChoiceDelta,
    ChatChunkChoice,
    ChatCompletionChunk,
    ChatCompletionResponse,
    ChatMessage,
    TokenUsageStats,
)

from modelmill.tasks.serving.conversation import Prompt
from modelmill.tasks.serving.generation import Answer
from modelmill.tasks.serving.wording import Wording


def completion(model: str, prompt: Prompt, answer: Answer, wording: Wording) -> dict[str, Any]:
    """Return the answer to a conversation.

    Args:
        model: The model's name.
        prompt: The conversation.
        answer: The answer.
        wording: Its text.
    """
    message = ChatMessage(role="assistant", content=wording.text(answer.ids))
    made = ChatCompletionResponse(
        choices=[ChatChoice(message=message, finish_reason=_reason(answer))],
        usage=_usage(prompt, answer),
        id=_identity(),
        model=model,
        custom_outputs=_custom(prompt),
    )
    shaped: dict[str, Any] = made.to_dict()
    return shaped


def chunks(model: str, prompt: Prompt, answers: Iterator[Answer], wording: Wording) -> Iterator[dict[str, Any]]:
    """Yield an answer piece by piece, then why it ended and what it took; the pieces are the text of the whole.

    Args:
        model: The model's name.
        prompt: The conversation.
        answers: The answer as far as it goes, at last whole.
        wording: Its text.
    """
    identity, said = _identity(), ""

    def chunk(text: str | None, last: Answer | None = None) -> dict[str, Any]:
        choice = ChatChunkChoice(ChatChoiceDelta(content=text), finish_reason=_reason(last) if last else None)
        usage, custom = (_usage(prompt, last), _custom(prompt)) if last else (None, None)
        made = ChatCompletionChunk([choice], usage=usage, id=identity, model=model, custom_outputs=custom)
        shaped: dict[str, Any] = made.to_dict()
        return shaped

    answer = Answer([], False)
    for answer in answers:
        text = wording.certain(answer.ids)
        if len(text) > len(said) and text.startswith(said):
            yield chunk(text[len(said) :])
            said = text
    yield chunk(wording.text(answer.ids)[len(said) :], answer)


def _reason(answer: Answer) -> str:
    return "stop" if answer.is_finished else "length"


def _usage(prompt: Prompt, answer: Answer) -> TokenUsageStats:
    asked, said = len(prompt.ids), len(answer.ids)
    return TokenUsageStats(prompt_tokens=asked, completion_tokens=said, total_tokens=asked + said)


def _custom(prompt: Prompt) -> dict[str, Any] | None:
    return {"dropped_messages": prompt.dropped} if prompt.dropped else None


def _identity() -> str:
    return f"chatcmpl-{uuid.uuid4().hex}"
