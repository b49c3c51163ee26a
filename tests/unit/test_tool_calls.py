"""Calls of tools are found in what models say, whatever stands around them, and compared by what they mean."""

import json

import pytest

from modelmill.measures import tool_calls
from modelmill.measures.tool_calls import Call

WEATHER = Call("weather", '{"city": "Ulm", "days": 3}')


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>\n{"name": "weather", "arguments": {"city": "Ulm", "days": 3}}\n</tool_call><|im_end|>',
        '<|python_tag|>{"name": "weather", "parameters": {"days": 3, "city": "Ulm"}}<|eom_id|>',
        '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Ulm", "days": 3}, "id": "VvvODy9mT"}]</s>',
        'Action: ```json\n[{"tool_name": "weather", "parameters": {"city": "Ulm", "days": 3}}]```',
        '{"type": "function", "function": {"name": "weather", "arguments": "{\\"city\\": \\"Ulm\\", \\"days\\": 3}"}}',
        '<think>{braces} and [brackets]</think>{"name": "weather", "arguments": {"city": "Ulm", "days": 3.0}}',
    ],
)
def test_a_call_is_found_in_the_words_of_its_family(text: str) -> None:
    assert tool_calls.of_text(text) == [WEATHER]


@pytest.mark.parametrize(
    "text",
    [
        "It rains in Ulm.",
        '{"name": "weather"}',
        '{"name": "weather", "arguments": "Ulm"}',
        '{"name": 3, "arguments": {}}',
        '{"name": "weather", "arguments": {"city": "Ulm"',
        '{"city": "Ulm", "days": 3}',
        "[" * 100_000,
        '{"a":' * 100_000,
    ],
)
def test_what_is_no_call_is_not_found(text: str) -> None:
    assert tool_calls.of_text(text) == []


def test_what_a_call_is_made_with_is_no_call() -> None:
    inner = {"name": "inner", "arguments": {}}
    (found,) = tool_calls.of_text(json.dumps({"name": "outer", "arguments": {"call": inner}}))
    assert found.name == "outer"


def test_messages_have_calls_in_openais_shape() -> None:
    function = {"name": "weather", "arguments": json.dumps({"days": 3, "city": "Ulm"})}
    message = {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": function}]}
    assert tool_calls.of_message(message) == [WEATHER]
    assert tool_calls.of_message({"role": "assistant", "content": "no"}) == []


def test_calls_are_the_same_in_any_order_and_each_counts() -> None:
    other = Call("weather", '{"city": "Bonn", "days": 3}')
    assert tool_calls.are_same([WEATHER, other], [other, WEATHER])
    for found in ([], [other], [WEATHER, WEATHER], [Call("climate", WEATHER.arguments), other]):
        assert not tool_calls.are_same([WEATHER, other], found)


def test_true_is_not_one() -> None:
    said = [tool_calls.of_text(f'{{"name": "f", "arguments": {{"x": {x}}}}}') for x in ("true", "1", '"1"')]
    assert not any(tool_calls.are_same(said[a], said[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
