"""Features of conversations: what a data contract can say of a row."""

import json
from typing import Any

import pytest

from modelmill.corpus.text.conversations import features, formats
from modelmill.corpus.text.conversations.conversation import Conversation, Labelled, Preference

CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": {"city": "Ulm"}}}


def said(role: str, text: str | None = None, **more: Any) -> dict[str, Any]:
    return {"role": role, **({} if text is None else {"content": text}), **more}


def test_a_dialogue_has_its_features_in_order() -> None:
    found = features.features(
        Conversation([said("system", "Be kind."), said("user", "Grüße"), said("assistant", " "), said("user", "äöü")])
    )
    assert list(found) == list(features.columns("messages"))
    assert found == {
        "turns": 4,
        "roles": "system user assistant user",
        "first_role": "system",
        "last_role": "user",
        "empty_contents": 1,
        "characters": 17,
        "longest_turn": 8,
        "longest_turn_tokens": 2,
        "script": "LATIN",
        "tool_calls": 0,
        "tool_calls_that_parse": 0,
        "unanswered_calls": 0,
        "results_without_call": 0,
        "prompt_digest": features.features(Conversation([said("user", "Grüße")]))["prompt_digest"],
    }


def test_calls_are_matched_with_results_by_id_and_in_order_without_one() -> None:
    def counts(*messages: dict[str, Any]) -> list[int]:
        names = ("tool_calls", "tool_calls_that_parse", "unanswered_calls", "results_without_call")
        return [features.features(Conversation(list(messages)))[name] for name in names]

    both = said("assistant", tool_calls=[CALL, CALL | {"id": "c2"}])
    bare = said("assistant", tool_calls=[{key: CALL[key] for key in ("type", "function")}])
    assert counts(both) == [2, 2, 2, 0]
    assert counts(both, said("tool", "a", tool_call_id="c2"), said("tool", "b", tool_call_id="c1")) == [2, 2, 0, 0]
    assert counts(both, said("tool", "a", tool_call_id="c2"), said("tool", "b", tool_call_id="c2")) == [2, 2, 1, 1]
    assert counts(both, said("tool", "a"), said("tool", "b"), said("tool", "c")) == [2, 2, 0, 1]
    assert counts(bare, said("tool", "a", tool_call_id="c9")) == [1, 1, 0, 0]
    assert counts(said("tool", "a"), bare) == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("call", "parses"),
    [
        (CALL, True),
        ({"name": "weather", "arguments": '{"city": "Ulm"}'}, True),
        ({"function": {"name": "weather", "arguments": '{"city": "Ulm"'}}, False),
        ({"function": {"name": "weather", "arguments": "[1]"}}, False),
        ({"function": {"name": "", "arguments": {}}}, False),
        ({"function": "weather"}, False),
        ("weather(Ulm)", False),
    ],
)
def test_a_call_parses_if_it_names_a_function_and_its_arguments_are_an_object(call: Any, parses: bool) -> None:
    row = {"messages": [said("user", "Ulm?"), said("assistant", tool_calls=[call])]}
    found = features.of_malformed("messages", row)
    assert (found["tool_calls"], found["tool_calls_that_parse"]) == (1, int(parses))


def test_rows_with_one_first_user_message_share_their_digest() -> None:
    def digest(row: dict[str, Any], format: str = "messages") -> str:
        return str(features.features(formats.of_row(format, row))["prompt_digest"])

    answers = [said("assistant", "b"), said("user", "c"), said("assistant", "d")]
    one = digest({"messages": [said("user", "a"), *answers]})
    assert digest({"messages": [said("system", "s"), said("user", "a"), answers[0]]}) == one
    assert digest({"instruction": "a", "output": "b"}, "alpaca") == one
    assert digest({"prompt": "a", "chosen": "b", "rejected": "c"}, "preferences") == one
    assert digest({"messages": [said("user", "A"), *answers]}) != one


@pytest.mark.parametrize(
    ("text", "script"),
    [("Hello, мир", "LATIN"), ("Привет, world", "CYRILLIC"), ("你好", "CJK"), ("12 + 3 = 15", None), ("", None)],
)
def test_the_script_is_that_of_most_letters(text: str, script: str | None) -> None:
    assert features.features(Conversation([said("user", text)]))["script"] == script


def test_preferences_and_labelled_answers_have_features_of_their_own() -> None:
    prompt = [said("user", "a")]
    chosen, rejected = [said("assistant", "good")], [said("assistant", "bad one")]
    found = features.features(Preference(prompt, chosen, rejected))
    assert list(found) == list(features.columns("preferences"))
    assert [found[name] for name in features.PREFERENCE_COLUMNS] == [4, 7, False]
    assert found["roles"] == "user assistant" and found["characters"] == 5
    assert features.features(Preference(prompt, chosen, chosen))["chosen_equals_rejected"] is True
    labelled = features.features(Labelled(prompt, chosen, is_good=False))
    assert list(labelled) == list(features.columns("labelled")) and labelled["is_good"] is False


@pytest.mark.parametrize(
    ("format", "row", "roles"),
    [
        ("messages", {"messages": [said("bot", "a"), said("user")]}, "bot user"),
        ("messages", {"messages": json.dumps([said("tool", "a")])}, "tool"),
        ("sharegpt", {"conversations": [{"from": "human", "value": "a"}]}, "user"),
        ("sharegpt", {"conversations": [{"from": "me", "value": "a"}]}, None),
        ("messages", {"messages": "no JSON"}, None),
        ("messages", {}, None),
        ("alpaca", {"instruction": None}, None),
    ],
)
def test_a_malformed_row_has_the_features_of_the_messages_that_it_has(
    format: str, row: dict[str, Any], roles: str | None
) -> None:
    with pytest.raises(formats.BadConversationError):
        formats.of_row(format, row)
    assert features.of_malformed(format, row).get("roles") == roles
