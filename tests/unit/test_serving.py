"""Requests to a served language model: parameters, messages and texts, without a model."""

import itertools
import json
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from modelmill.tasks.serving import calling, completion, conversation, settings
from modelmill.tasks.serving.generation import Answer
from modelmill.tasks.serving.settings import Sampling, Settings
from modelmill.tasks.serving.wording import Wording

USER = {"role": "user", "content": "Hi"}
SYSTEM = {"role": "system", "content": "Be kind"}
ASSISTANT = {"role": "assistant", "content": "Hello"}


def bytes_tokenizer() -> Any:
    """A tokenizer with a token a byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({symbol: number for number, symbol in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (None, Settings(512)),
        ({"max_tokens": None, "seed": None, "n": 1, "stream": False, "presence_penalty": 0.0}, Settings(512)),
        ({"max_tokens": 7, "max_new_tokens": 3, "stop": "END"}, Settings(7, stops=("END",))),
        ({"max_completion_tokens": 9, "max_tokens": 7, "truncation": "auto"}, Settings(9, drops_turns=True)),
        (
            {"temperature": 0.5, "top_p": 0.9, "top_k": 4, "seed": 3, "stop": ["a", "b"]},
            Settings(512, Sampling(0.5, 0.9, 4, 3), ("a", "b")),
        ),
    ],
)
def test_parameters_are_read_by_openais_names(params: dict[str, Any] | None, expected: Settings) -> None:
    assert settings.read(params, "messages") == expected


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"temperature": -1}, "temperature: -1 is not possible; it is 0 to 2"),
        ({"temperature": float("nan")}, "temperature: nan is not possible"),
        ({"top_p": 0}, "top_p: 0 is not possible"),
        ({"top_k": -1}, "top_k: -1"),
        ({"max_tokens": 0}, "max_tokens: 0 is not possible; it is 1 or more"),
        ({"stop": ["a", ""]}, "stop: "),
        ({"n": 2}, "n: 2 is not possible: there is one answer a request"),
        ({"stream": True}, "stream: True is not possible: MLflow's server sends whole answers"),
        ({"frequency_penalty": 0.1}, "frequency_penalty: 0.1 is not possible"),
        ({"truncation": "middle"}, "truncation: middle is not possible; it is auto or disabled"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_refused(params: dict[str, Any], said: str) -> None:
    with pytest.raises(MlflowException) as refused:
        settings.read(params, "messages")
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"
    assert said in refused.value.message


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"messages": []}, "messages is empty"),
        ({"messages": None}, "messages"),
        ({"messages": [USER, ASSISTANT]}, "the last one is the assistant's, which asks for no answer"),
        ({"messages": [{"role": "judge", "content": "x"}]}, "unknown role 'judge'"),
        ({"messages": [USER, {"role": "tool", "content": "4"}]}, "a tool result without a call"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages"),
        ({"messages": [USER], "tool_choice": "required"}, "tool_choice: required is not possible"),
        ({"messages": [USER], "response_format": {"type": "json_object"}}, "response_format: "),
    ],
)
def test_messages_that_make_no_sense_are_refused(request_: dict[str, Any], said: str) -> None:
    with pytest.raises(MlflowException) as refused:
        conversation.read(request_)
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"
    assert said in refused.value.message


class Words:
    """A chat template with a token a word of the messages, and one before each message."""

    def asked_messages(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> list[int]:
        return [len(word) for message in messages for word in ("", *message["content"].split())]


def asked(messages: list[dict[str, Any]], length: int, chosen: Settings) -> conversation.Prompt:
    template: Any = Words()
    return conversation.prompt(messages, [], template, length, chosen)


def test_a_conversation_that_is_too_long_is_refused_or_loses_its_oldest_turns() -> None:
    turns = [SYSTEM, USER, ASSISTANT, USER, ASSISTANT, {"role": "user", "content": "one two three"}]
    whole = 3 + 4 * 2 + 4
    assert asked(turns, whole + 1, Settings(512))[:2] == (Words().asked_messages(turns, []), 0)
    with pytest.raises(MlflowException, match=f"{whole} tokens in the chat template, and {whole} fit with the answer"):
        asked(turns, whole, Settings(512))
    assert asked(turns, whole + 3, Settings(4, drops_turns=True)).dropped == 2
    kept = asked(turns, 14, Settings(512, drops_turns=True))
    assert kept[:2] == (Words().asked_messages([SYSTEM, turns[-1]], []), 4)
    with pytest.raises(MlflowException, match=r"7 tokens in the chat template, and 9 fit .*; shorten the last ones"):
        asked(turns, 9, Settings(512, drops_turns=True))


def test_a_text_ends_before_a_stop_and_shows_no_half_of_one() -> None:
    tokenizer = bytes_tokenizer()
    ids = tokenizer.encode("one two END three").ids
    wording = Wording(tokenizer, ("END", "\n\n"))
    shown = [wording.certain(ids[:size]) for size in range(1, len(ids) + 1)]
    assert wording.text(ids) == shown[-1] == "one two "
    assert [wording.is_over(ids[:size]) for size in (10, 11, 12)] == [False, True, True]
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(shown))
    assert all("E" not in text for text in shown)


def test_half_a_character_waits_for_its_other_half() -> None:
    tokenizer = bytes_tokenizer()
    ids = tokenizer.encode("é!").ids
    wording = Wording(tokenizer, ())
    assert [wording.certain(ids[:size]) for size in range(1, len(ids) + 1)] == ["", "é", "é!"]
    assert wording.text(ids[:1]) == "\ufffd"


AREA = '{"name": "area", "arguments": {"width": 2}}'
HOUR = '{"name": "hour", "parameters": {}}'
TOOLS = frozenset(("area", "hour"))


@pytest.mark.parametrize(
    ("text", "content", "called"),
    [
        (f"<tool_call>\n{AREA}\n</tool_call>", "", ["area"]),
        (f"Let me see.\n<tool_call>\n{AREA}\n</tool_call>\n<tool_call>\n{HOUR}\n</tool_call>\n",
         "Let me see.", ["area", "hour"]),
        (f"[TOOL_CALLS] [{AREA}, {HOUR}]", "", ["area", "hour"]),
        (f"{AREA}; {HOUR}", "", ["area", "hour"]),
        (f"Action: ```json\n[{AREA}]\n```", "Action:", ["area"]),
        (f"1 < 2 [so] <|tool_call|>{AREA} and then\n{HOUR} I know.", "1 < 2 [so]\nand then\nI know.", ["area", "hour"]),
    ],
)  # fmt: skip
def test_calls_are_apart_from_what_is_said_beside_them(text: str, content: str, called: list[str]) -> None:
    said = calling.read(text, TOOLS)
    assert (said.content, [call.name for call in said.calls]) == (content, called)
    assert all(said.content.startswith(calling.certain(text[:size], TOOLS)) for size in range(len(text) + 1))


@pytest.mark.parametrize(
    ("text", "tools"),
    [
        (AREA, frozenset()),
        (f"{AREA} {HOUR} ", frozenset(("area",))),
        ('<tool_call>\n{"name": "area", "arguments": {"width"', TOOLS),
        (" Two by two [metres], 1 < 2.\n", TOOLS),
    ],
)
def test_what_calls_no_offered_tool_is_text(text: str, tools: frozenset[str]) -> None:
    assert calling.read(text, tools) == (text, [])
    assert all(text.startswith(calling.certain(text[:size], tools)) for size in range(len(text) + 1))


def test_an_answer_with_calls_has_openais_shape_and_is_taken_back_with_a_result() -> None:
    tokenizer = bytes_tokenizer()
    ids = tokenizer.encode(f"Let me see.\n<tool_call>\n{AREA}\n</tool_call>").ids
    tools = [{"type": "function", "function": {"name": "area"}}]
    template: Any = Words()
    asked = conversation.prompt([USER], tools, template, 600, Settings(512))
    wording, answer = Wording(tokenizer, ()), Answer(ids, True)
    (choice,) = completion.completion("m", asked, answer, wording)["choices"]
    (call,) = choice["message"]["tool_calls"]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", "Let me see.")
    assert (call["type"], call["function"]["name"]) == ("function", "area")
    assert json.loads(call["function"]["arguments"]) == {"width": 2}
    assert len(call["id"]) == 9 and call["id"].isalnum()

    result = {"role": "tool", "tool_call_id": call["id"], "content": "4"}
    messages, _ = conversation.read({"messages": [USER, choice["message"], result], "tools": tools})
    assert messages[1]["tool_calls"][0]["function"]["arguments"] == {"width": 2}

    growing = [Answer(ids[:size], False) for size in range(1, len(ids))]
    *pieces, last = completion.chunks("m", asked, iter([*growing, answer]), wording)
    deltas = [chunk["choices"][0]["delta"] for chunk in (*pieces, last)]
    assert "".join(delta.get("content", "") for delta in deltas) == "Let me see." and len(pieces) > 5
    assert deltas[-1]["tool_calls"][0]["function"] == call["function"]
    assert last["choices"][0]["finish_reason"] == "tool_calls"
    (cut,) = completion.completion("m", asked, Answer(ids, False), wording)["choices"]
    assert cut["finish_reason"] == "length" and cut["message"]["tool_calls"]
    (bare,) = completion.completion("m", asked, Answer(tokenizer.encode(AREA).ids, True), wording)["choices"]
    assert bare["message"].get("content") is None and bare["message"]["tool_calls"]
