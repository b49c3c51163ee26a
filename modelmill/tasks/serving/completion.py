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
    FunctionToolCallArguments,
    TokenUsageStats,
    ToolCall,
)

from modelmill.measures.tool_calls import Call
from modelmill.tasks.serving import calling
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
    said = calling.read(wording.text(answer.ids), prompt.tools)
    content = said.content or (None if said.calls else "")
    message = ChatMessage(role="assistant", content=content, tool_calls=_tool_calls(said.calls))
    made = ChatCompletionResponse(
        choices=[ChatChoice(message=message, finish_reason=_reason(answer, said.calls))],
        usage=_usage(prompt, answer),
        id=_identity(),
        model=model,
        custom_outputs=_custom(prompt),
    )
    shaped: dict[str, Any] = made.to_dict()
    return shaped


def chunks(model: str, prompt: Prompt, answers: Iterator[Answer], wording: Wording) -> Iterator[dict[str, Any]]:
    """Yield an answer piece by piece, then why it ended and what it took; the pieces are the text of the whole.

    Calls of tools come in the last chunk. Where tools are offered, the text from where a call may begin does too.

    Args:
        model: The model's name.
        prompt: The conversation.
        answers: The answer as far as it goes, at last whole.
        wording: Its text.
    """
    identity, sent = _identity(), ""

    def chunk(delta: ChatChoiceDelta, reason: str | None = None, **of_last: Any) -> dict[str, Any]:
        choice = ChatChunkChoice(delta, finish_reason=reason)
        made = ChatCompletionChunk([choice], id=identity, model=model, **of_last)
        shaped: dict[str, Any] = made.to_dict()
        return shaped

    answer = Answer([], False)
    for answer in answers:
        text = calling.certain(wording.certain(answer.ids), prompt.tools)
        if len(text) > len(sent) and text.startswith(sent):
            yield chunk(ChatChoiceDelta(content=text[len(sent) :]))
            sent = text
    said = calling.read(wording.text(answer.ids), prompt.tools)
    last = ChatChoiceDelta(content=said.content[len(sent) :], tool_calls=_tool_calls(said.calls))
    yield chunk(last, _reason(answer, said.calls), usage=_usage(prompt, answer), custom_outputs=_custom(prompt))


def _tool_calls(calls: list[Call]) -> list[ToolCall] | None:
    # Nine letters and digits: templates of Mistral's take no other names.
    return [ToolCall(FunctionToolCallArguments(*call), uuid.uuid4().hex[:9]) for call in calls] or None


def _reason(answer: Answer, calls: list[Call]) -> str:
    if not answer.is_finished:
        return "length"
    return "tool_calls" if calls else "stop"


def _usage(prompt: Prompt, answer: Answer) -> TokenUsageStats:
    asked, said = len(prompt.ids), len(answer.ids)
    return TokenUsageStats(prompt_tokens=asked, completion_tokens=said, total_tokens=asked + said)


def _custom(prompt: Prompt) -> dict[str, Any] | None:
    return {"dropped_messages": prompt.dropped} if prompt.dropped else None


def _identity() -> str:
    return f"chatcmpl-{uuid.uuid4().hex}"
