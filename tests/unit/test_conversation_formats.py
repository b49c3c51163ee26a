"""Rows of every format of conversations: what becomes of them, and why bad ones are refused."""

import json
from typing import Any

import pyarrow as pa
import pytest

from modelmill.corpus.text.conversations import formats
from modelmill.corpus.text.conversations.conversation import Conversation, Labelled, Preference
from modelmill.corpus.text.conversations.detecting import Detected, detect
from modelmill.corpus.text.conversations.formats import BadConversationError, of_row

WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Ulm"}}}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def calling(identity: str = "c1") -> dict[str, Any]:
    return {"role": "assistant", "tool_calls": [{"id": identity, **CALL}]}


def result(identity: str = "c1") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": identity, "content": "rain"}


def messages_of(*messages: dict[str, Any], tools: Any = None) -> Conversation:
    found = of_row("messages", {"messages": list(messages), "tools": tools})
    assert isinstance(found, Conversation)
    return found


def test_messages_keep_what_templates_see() -> None:
    said = [{"role": "system", "content": "Be kind."}, user("Hi"), {**assistant("Hm"), "reasoning_content": "short"}]
    assert messages_of(*said) == Conversation(said, [], None)


def test_tool_calls_come_in_one_shape_whatever_the_data_has() -> None:
    as_text = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Ulm"}'}}
    as_object = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": {"city": "Ulm"}}}
    flat = {"id": "c1", "name": "weather", "arguments": {"city": "Ulm"}}
    for call in (as_text, as_object, flat):
        asked = {"role": "assistant", "content": None, "tool_calls": [call]}
        found = messages_of(user("Ulm?"), asked, result(), assistant("Wet."), tools=[WEATHER])
        assert found == Conversation([user("Ulm?"), calling(), result(), assistant("Wet.")], [WEATHER], None)


def test_tools_may_be_json_text() -> None:
    assert messages_of(user("a"), assistant("b"), tools=json.dumps([WEATHER])).tools == [WEATHER]
    assert messages_of(user("a"), assistant("b"), tools="").tools == []


def test_messages_may_be_json_text_which_keeps_nulls_in_arguments() -> None:
    call = {"name": "weather", "arguments": {"city": None}}
    text = json.dumps([user("a"), {"role": "assistant", "content": None, "tool_calls": [call]}])
    found = of_row("messages", {"messages": text})
    assert isinstance(found, Conversation)
    asked = {"role": "assistant", "tool_calls": [{"type": "function", "function": call}]}
    assert found.messages == [user("a"), asked]
    turns = [{"from": "human", "value": "a"}, {"from": "function_call", "value": json.dumps(call)}]
    found = of_row("sharegpt", {"conversations": turns})
    assert found[0] == [user("a"), asked]


def test_nulls_that_parquet_fills_in_are_gone() -> None:
    said = [user("Ulm?"), calling(), result(), assistant("Wet.")]
    other = {"type": "function", "function": {"name": "time", "parameters": {"type": "object", "properties": {}}}}
    rows = [{"messages": said, "tools": [WEATHER]}, {"messages": [user("a"), assistant("b")], "tools": [other]}]
    first, second = pa.Table.from_pylist(rows).to_pylist()
    assert first["messages"][0]["tool_calls"] is None
    assert of_row("messages", first) == Conversation(said, [WEATHER], None)
    assert second["tools"][0]["function"]["parameters"]["properties"] == {"city": None}
    assert of_row("messages", second) == Conversation([user("a"), assistant("b")], [other], None)


def test_text_in_parts_is_joined() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert messages_of({"role": "user", "content": parts}, assistant("b")).messages[0] == user("one\ntwo")


@pytest.mark.parametrize(
    ("first", "second", "weights"),
    [
        ({"weight": 0}, {}, [0.0, 0.0, 0.0, 1.0]),
        ({"weight": 0.5}, {"weight": 2}, [0.0, 0.5, 0.0, 2.0]),
        ({"train": False}, {"train": True}, [0.0, 0.0, 0.0, 1.0]),
        ({"weight": None}, {}, None),
        ({}, {}, None),
    ],
)
def test_turns_say_what_they_weigh(first: Any, second: Any, weights: list[float] | None) -> None:
    found = messages_of(user("a"), {**assistant("b"), **first}, user("c"), {**assistant("d"), **second})
    assert found == Conversation([user("a"), assistant("b"), user("c"), assistant("d")], [], weights)


def test_sharegpt() -> None:
    turns = [
        {"from": "human", "value": "Ulm?"},
        {"from": "function_call", "value": json.dumps({"name": "weather", "arguments": {"city": "Ulm"}})},
        {"from": "observation", "value": "rain"},
        {"from": "gpt", "value": "Wet.", "weight": 0.5},
    ]
    found = of_row("sharegpt", {"conversations": turns, "system": "Be kind.", "tools": json.dumps([WEATHER])})
    messages = [
        {"role": "system", "content": "Be kind."},
        user("Ulm?"),
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "content": "rain"},
        assistant("Wet."),
    ]
    assert found == Conversation(messages, [WEATHER], [0.0, 0.0, 1.0, 0.0, 0.5])


def test_a_call_that_is_written_as_text_may_be_answered() -> None:
    turns = [
        {"from": "human", "value": "Ulm?"},
        {"from": "gpt", "value": '<tool_call>{"name": "weather"}</tool_call>'},
        {"from": "tool", "value": "<tool_response>rain</tool_response>"},
    ]
    assert len(of_row("sharegpt", {"conversations": turns})[0]) == 3


def test_alpaca() -> None:
    row = {"instruction": "Translate.", "input": "Hallo", "output": "Hello", "history": [["Hi", "Ho"]], "system": "S"}
    said = [{"role": "system", "content": "S"}, user("Hi"), assistant("Ho"), user("Translate.\nHallo")]
    assert of_row("alpaca", row) == Conversation([*said, assistant("Hello")])
    assert of_row("alpaca", {**row, "history": '[["Hi", "Ho"]]'}) == Conversation([*said, assistant("Hello")])
    row = {"instruction": "Sing.", "input": "", "output": "La", "history": None}
    assert of_row("alpaca", row) == Conversation([user("Sing."), assistant("La")])


def test_preferences_as_text_and_as_messages() -> None:
    wanted = Preference([user("q")], [assistant("good")], [assistant("bad")], [])
    assert of_row("preferences", {"prompt": "q", "chosen": "good", "rejected": "bad"}) == wanted
    row = {"prompt": [user("q")], "chosen": [assistant("good")], "rejected": [assistant("bad")]}
    assert of_row("preferences", row) == wanted
    as_json = {name: json.dumps(value) for name, value in row.items()}
    assert of_row("preferences", as_json) == wanted


def test_an_answer_that_looks_like_json_is_text() -> None:
    for said in ('[{"a": 1}]', '[{"role": "user"', "[1]", "[]"):
        found = of_row("preferences", {"prompt": "q", "chosen": said, "rejected": "bad"})
        assert found[1] == [assistant(said)]


def whole(*answers: str) -> list[dict[str, Any]]:
    return [user("q1"), assistant("a1"), user("q2"), *map(assistant, answers)]


@pytest.mark.parametrize("prompt", [None, "q1", "q2", whole()], ids=["none", "first", "last", "all"])
def test_a_prompt_that_both_conversations_hold_is_found(prompt: Any) -> None:
    found = of_row("preferences", {"prompt": prompt, "chosen": whole("good"), "rejected": whole("bad")})
    assert found == Preference(whole(), [assistant("good")], [assistant("bad")], [])


def extracted_by_trl(chosen: list[Any], rejected: list[Any]) -> tuple[list[Any], list[Any], list[Any]]:
    """What `trl.data_utils.extract_prompt` of TRL 1.16 finds, retyped: to import it takes half a minute."""
    place = 0
    for place in range(min(len(chosen), len(rejected))):
        if chosen[place] != rejected[place]:
            break
    return chosen[:place], chosen[place:], rejected[place:]


def test_a_prompt_is_found_where_trl_finds_it() -> None:
    later = [user("q1"), assistant("b1"), user("q2"), assistant("b2")]
    for rejected in (whole("bad"), later, [user("q1"), assistant("short")], whole("good")):
        found = of_row("preferences", {"chosen": whole("good"), "rejected": rejected})
        assert found[:3] == extracted_by_trl(whole("good"), rejected)


def test_equal_answers_are_left_to_the_policy() -> None:
    found = of_row("preferences", {"chosen": whole("same"), "rejected": whole("same")})
    assert found == Preference(whole(), [assistant("same")], [assistant("same")], [])


def test_labelled() -> None:
    for label in (True, 1):
        found = of_row("labelled", {"prompt": "q", "completion": "a", "label": label})
        assert found == Labelled([user("q")], [assistant("a")], True, [])
    assert not of_row("labelled", {"prompt": "q", "completion": [assistant("a")], "label": False})[2]


BAD_MESSAGES: list[tuple[list[Any], str]] = [
    ([], "messages is empty"),
    ([user("a")], "messages: there is no assistant turn to learn"),
    ([user("a"), {"role": "bot", "content": "b"}], "messages: turn 2 has the unknown role 'bot'"),
    ([{"content": "b"}], "messages: turn 1 has no role"),
    (["a"], "messages: item 1 is text where an object belongs"),
    ([user("a"), {"role": "assistant", "content": None}], r"messages: turn 2 \(assistant\) has no content"),
    ([{"role": "user", "content": 7}, assistant("b")], "messages: turn 1: content is a number, not text"),
    ([{"role": "user", "content": [{"type": "image_url"}]}], "turn 1: content has a part of type 'image_url'"),
    ([user("a"), result(), assistant("b")], "messages: turn 2 is a tool result without a call 'c1'"),
    ([user("a"), calling("c2"), result(), assistant("b")], "messages: turn 3 is a tool result without a call 'c1'"),
    ([user("a"), calling(), result(), result()], "messages: turn 4 is a tool result without a call 'c1'"),
    ([user("a"), {"role": "tool", "content": "b"}, assistant("c")], "turn 2 is a tool result without a call$"),
    ([{**user("a"), "tool_calls": [CALL]}], "messages: turn 1: only the assistant calls tools"),
    ([{**assistant("a"), "tool_calls": [{"function": {}}]}], "messages: turn 1: tool call 1 has no name"),
    ([{**assistant("a"), "tool_calls": [{**CALL, "type": "custom"}]}], "tool call 1 is no call of a function"),
    (
        [{**assistant("a"), "tool_calls": [{"name": "f", "arguments": "{oops"}]}],
        r"tool call 1 \(f\): arguments: '{oops'",
    ),
    ([{**assistant("a"), "tool_calls": [{"name": "f", "arguments": "[1]"}]}], r"\(f\): arguments are a list, not an"),
    ([user("a"), {**assistant("b"), "weight": -1}], "messages: turn 2: the weight -1 is no number of 0 or more"),
    ([user("a"), {**assistant("b"), "weight": float("nan")}], "the weight nan is no number"),
    ([{**user("a"), "weight": 1}, assistant("b")], "turn 1: only the assistant's turns are learned"),
    ([user("a"), {**assistant("b"), "weight": 0}], "every assistant turn has the weight 0"),
]


@pytest.mark.parametrize(("messages", "why"), BAD_MESSAGES, ids=[why for _, why in BAD_MESSAGES])
def test_bad_messages_say_why(messages: list[Any], why: str) -> None:
    with pytest.raises(BadConversationError, match=why):
        of_row("messages", {"messages": messages})


BAD_ROWS: list[tuple[str, dict[str, Any], str]] = [
    ("messages", {}, "messages is missing or null"),
    ("messages", {"messages": "hello"}, "messages: 'hello' is not valid JSON"),
    ("messages", {"messages": {"role": "user"}}, "messages: an object where a list belongs"),
    ("messages", {"messages": whole("a"), "tools": [{"type": "function"}]}, "tools: tool 1 has no name"),
    ("messages", {"messages": whole("a"), "tools": "{"}, "tools: '{' is not valid JSON"),
    ("sharegpt", {"conversations": [user("a")]}, "set from: messages, and name the column"),
    ("messages", {"messages": '[{"role": "user", "content": "\\ud800"}]'}, "is not valid JSON"),
    ("sharegpt", {"conversations": [{"from": "dog", "value": "a"}]}, "turn 1 is from 'dog', who is unknown"),
    (
        "sharegpt",
        {"conversations": [{"from": "function_call", "value": "now"}]},
        "turn 1: call: 'now' is not valid JSON",
    ),
    ("sharegpt", {"conversations": [{"from": "function_call", "value": "[]"}]}, "holds a list, not a call"),
    ("alpaca", {"instruction": 1, "output": "a"}, "instruction is a number, not text"),
    ("alpaca", {"instruction": "a", "output": "b", "history": [["c"]]}, "history: item 1 is no pair"),
    ("preferences", {"prompt": "q", "chosen": " ", "rejected": "b"}, "chosen is empty"),
    ("preferences", {"prompt": "q", "chosen": [], "rejected": "b"}, "chosen is empty"),
    ("preferences", {"prompt": "", "chosen": "a", "rejected": "b"}, "the prompt is empty"),
    ("preferences", {"chosen": "a", "rejected": "b"}, "there is no prompt"),
    ("preferences", {"prompt": "x", "chosen": whole("a"), "rejected": whole("b")}, "begin with something else"),
    ("preferences", {"prompt": "q", "chosen": [user("a")], "rejected": "b"}, "chosen begins with the user's turn"),
    ("labelled", {"prompt": "q", "completion": "a", "label": "yes"}, "label: 'yes' is neither true nor false"),
]


@pytest.mark.parametrize(("format", "row", "why"), BAD_ROWS, ids=[f"{f}: {why}" for f, _, why in BAD_ROWS])
def test_bad_rows_say_why(format: str, row: dict[str, Any], why: str) -> None:
    with pytest.raises(BadConversationError, match=why):
        of_row(format, row)


DETECTED: list[tuple[dict[str, Any], Detected | None]] = [
    ({"messages": [user("a")], "text": "b"}, Detected("messages", {})),
    ({"id": 1, "chat": [user("a")]}, Detected("messages", {"messages": "chat"})),
    ({"conversations": [{"from": "human", "value": "a"}]}, Detected("sharegpt", {})),
    ({"conversations": [user("a")]}, Detected("messages", {"messages": "conversations"})),
    ({"turns": [{"from": "human", "value": "a"}]}, Detected("sharegpt", {"conversations": "turns"})),
    ({"instruction": "a", "input": "b", "output": "c"}, Detected("alpaca", {})),
    ({"prompt": "a", "response": "b"}, Detected("columns", {})),
    ({"prompt": "a", "chosen": "b", "rejected": "c"}, Detected("preferences", {})),
    ({"chosen": [user("a")], "rejected": [user("b")], "messages": [user("a")]}, Detected("preferences", {})),
    ({"prompt": "a", "completion": "b", "label": True}, Detected("labelled", {})),
    ({"messages": json.dumps([user("a")])}, Detected("messages", {})),
    ({"text": "[a]"}, None),
    ({"messages": ["a"]}, None),
]


@pytest.mark.parametrize(("row", "wanted"), DETECTED, ids=[", ".join(row) for row, _ in DETECTED])
def test_the_format_is_seen_in_the_columns(row: dict[str, Any], wanted: Detected | None) -> None:
    assert detect(pa.Table.from_pylist([row])) == wanted


def test_names_of_columns_can_be_chosen() -> None:
    assert formats.columns("messages", {"messages": "chat"}) == {
        "messages": "chat",
        "tools": "tools",
        "source": "source",
    }
