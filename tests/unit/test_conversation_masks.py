"""Whole conversations in templates of families: each message is learned as the model is asked for it, and none else."""

import itertools
import json
from collections.abc import Iterator
from datetime import date
from typing import Any, NamedTuple

import numpy as np
import pytest
from transformers import AutoTokenizer
from transformers.utils import chat_template_utils

from modelmill.corpus.text import given_tokenizer
from modelmill.corpus.text.chat_tokens import Chatted, ChatTokens
from modelmill.corpus.text.conversations.conversation import Conversation
from modelmill.corpus.text.shown import UnfitTemplateError
from modelmill.corpus.text.tokenizer import Encoder
from tests.chat_families import TEMPLATES, TURNS, Family, marked, write

DAY = date(2025, 3, 9)
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"Looks up {what}.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
    for name, what in (("weather", "the weather"), ("clock", "the time"))
]


def said(role: str, content: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def call(number: int, name: str, city: str) -> dict[str, Any]:
    return {
        "id": f"call{number:05}",
        "type": "function",
        "function": {"name": name, "arguments": {"city": city}},
    }


def result(number: int, content: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": f"call{number:05}", "name": "weather", "content": content}


PLAIN = [
    said("user", "What is 6 x 7?"),
    said("assistant", "It is 42.\n\nAs  a list:\n- forty\n- two"),
    said("user", "def area(self):\n    return self.width ** 2\n"),
    said("assistant", "The area in square metres."),
    said("user", "And in Ünïcode 語?"),
    said("assistant", "語."),
]
CALLED = [
    said("user", "How warm is it in Oslo?"),
    {"role": "assistant", "tool_calls": [call(1, "weather", "Oslo")]},
    result(1, '{"degrees": "4"}'),
    said("assistant", "Four degrees."),
    said("user", "Thanks."),
    said("assistant", "You are welcome."),
]
TWICE = [
    said("user", "Oslo and Rome?"),
    {"role": "assistant", "tool_calls": [call(1, "weather", "Oslo"), call(2, "weather", "Rome")]},
    result(1, "four"),
    result(2, "twenty"),
    said("assistant", "Four and twenty."),
]
THOUGHT = [
    said("user", "Why?"),
    said("assistant", "Because.", reasoning_content="It is so."),
    said("user", "Really?"),
    said("assistant", "Yes.", reasoning_content="They doubt it."),
]
# Conversations, and what a template must be able to show.
CHATS: dict[str, tuple[Conversation, str]] = {
    "plain": (Conversation(PLAIN), ""),
    "unanswered": (Conversation(PLAIN[:5]), ""),
    "system": (Conversation([said("system", "Be short."), *PLAIN]), "system"),
    "called": (Conversation(CALLED, TOOLS), "tools"),
    "several calls": (Conversation(TWICE, TOOLS), "several"),
    "thought": (Conversation(THOUGHT), "thinking"),
}


# Templates that know thinking only as a part of the content.
PUT_BACK = ["deepseek-r1", "deepseek-v3", "qwen3"]


class Made(NamedTuple):
    family: Family
    tokens: ChatTokens
    theirs: Any


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("families")
    made: dict[str, Made] = {}

    def family_of(name: str, family: Family | None = None) -> Made:
        key = name + ("" if family is None else " marked")
        if key not in made:
            chosen = family or TURNS[name]
            source = write(folder / key / "source", chosen)
            given_tokenizer.copy(source, folder / key / "copied")
            end = Encoder(folder / key / "copied").vocabulary.end
            tokens = ChatTokens(folder / key / "copied", DAY, end)
            made[key] = Made(chosen, tokens, AutoTokenizer.from_pretrained(source))
        return made[key]

    return family_of


@pytest.fixture(autouse=True)
def the_day(monkeypatch: pytest.MonkeyPatch) -> None:
    class Day:
        @staticmethod
        def now() -> date:
            return DAY

    monkeypatch.setattr(chat_template_utils, "datetime", Day)
    chat_template_utils._compile_jinja_template.cache_clear()


def learned_by_roles(conversation: Conversation) -> dict[int, float]:
    return {n: 1.0 for n, message in enumerate(conversation.messages) if message["role"] == "assistant"}


def parts(chatted: Chatted) -> Iterator[tuple[int, list[int], list[int]]]:
    """The number of each learned message, the ids before it and its own."""
    ids: list[int] = []
    numbers = iter(chatted.turns)
    for segment in chatted.segments:
        if segment.weight:
            yield next(numbers), list(ids), list(segment.ids)
        ids += segment.ids


def rendering(theirs: Any, conversation: Conversation, end: int, asks: bool = False, **options: Any) -> Any:
    taken = [dict(message) for message in conversation.messages[:end]]
    if "arguments'] +" in theirs.chat_template:  # DeepSeek's takes text, and content beside it
        for message in taken:
            if "tool_calls" in message:
                message["content"] = ""
                message["tool_calls"] = [as_text(one) for one in message["tool_calls"]]
    return theirs.apply_chat_template(
        taken,
        tools=conversation.tools or None,
        add_generation_prompt=asks,
        date_string="09 Mar 2025",
        **{"return_dict": False, **options},
    )


def as_text(one: dict[str, Any]) -> dict[str, Any]:
    function = one["function"]
    return {**one, "function": {**function, "arguments": json.dumps(function["arguments"])}}


@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("name", TURNS)
def test_each_message_is_learned_once_where_the_model_is_asked_for_it(name: str, chat: str, families: Any) -> None:
    made, (conversation, needed) = families(name), CHATS[chat]
    weights = learned_by_roles(conversation)
    if name == "deepseek-v3":  # its template shows calls and results, but no tools
        conversation = conversation._replace(tools=[])
    if needed == "thinking" and name in PUT_BACK:
        pytest.skip("its template leaves thinking out; see test_thinking_is_put_back")
    if needed and needed not in made.family.shows:
        with pytest.raises(UnfitTemplateError):
            made.tokens.conversation(conversation.messages, conversation.tools, weights)
        return
    examples = made.tokens.conversation(conversation.messages, conversation.tools, weights)
    seen = [one for example in examples for one in parts(example)]
    assert sorted(number for number, _, _ in seen) == sorted(weights)
    stops = {made.tokens.stop, *made.tokens.stops}
    for number, before, learned in seen:
        assert before == rendering(made.theirs, conversation, number, asks=True)
        text = made.theirs.decode(before)
        whole = rendering(made.theirs, conversation, number + 1, tokenize=False)
        ids = rendering(made.theirs, conversation, number + 1)
        if made.tokens.template.stop is None:
            assert ids == [*before, *learned[:-1]]
        else:
            assert ids[: len(before) + len(learned)] == [*before, *learned]
            rest = made.theirs.decode(ids[len(before) + len(learned) :], skip_special_tokens=True)
            assert rest.strip() == "", f"nothing but white space follows {text + whole!r}"
        assert learned[-1] in stops


@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("name", [name for name in TURNS if (TEMPLATES / f"{name}.jinja").exists()])
def test_learned_is_what_the_template_marks_as_generated(name: str, chat: str, families: Any) -> None:
    made, (conversation, needed) = families(name), CHATS[chat]
    if "{%- generation" not in marked(name).template or (needed and needed not in made.family.shows):
        pytest.skip("its template has no marks, or does not show this")
    if name == "deepseek-v3":
        conversation = conversation._replace(tools=[])
    theirs = families(name, marked(name))
    for tokens in (made.tokens, theirs.tokens):
        for example in tokens.conversation(conversation.messages, conversation.tools, learned_by_roles(conversation)):
            output = rendering(
                theirs.theirs,
                conversation,
                example.turns[-1] + 1,
                return_dict=True,
                return_assistant_tokens_mask=True,
            )
            ids = [token for segment in example.segments for token in segment.ids]
            mine = [int(segment.weight) for segment in example.segments for _ in segment.ids]
            assert ids == output["input_ids"]
            runs = [list(run) for _, run in itertools.groupby(range(len(ids)), output["assistant_masks"].__getitem__)]
            marks = [run for run in runs if output["assistant_masks"][run[0]]]
            assert all(output["assistant_masks"][place] for place in np.flatnonzero(mine)), "no other is learned"
            learned = [run for run in marks if any(mine[place] for place in run)]
            assert len(learned) == len(example.turns)
            for run in learned:
                others = theirs.theirs.decode([ids[place] for place in run if not mine[place]])
                assert others.replace("<|im_start|>assistant", "").strip() == "", "but for white space after a stop"


@pytest.mark.parametrize("name", TURNS)
def test_names_of_special_tokens_in_a_conversation_are_plain_text(name: str, families: Any) -> None:
    made = families(name)
    names = " ".join(made.family.special)
    messages = [said("user", f"say {names}"), said("assistant", f"{names} no"), *PLAIN[2:]]
    plain = [said("user", "say it"), said("assistant", "it no"), *PLAIN[2:]]
    special = {made.theirs.convert_tokens_to_ids(token) for token in made.family.special}

    def counted(some: list[dict[str, Any]]) -> list[int]:
        examples = made.tokens.conversation(some, [], {1: 1.0, 3: 1.0, 5: 1.0})
        return [sum(token in special for segment in e.segments for token in segment.ids) for e in examples]

    assert counted(messages) == counted(plain), "those of the template alone"


def test_turns_have_the_weights_that_data_gives_them(families: Any) -> None:
    (example,) = families("smollm2").tokens.conversation(PLAIN, [], {1: 0.5, 5: 1.0})
    weighted = {
        number: segment.weight
        for number, segment in zip(
            example.turns, [segment for segment in example.segments if segment.weight], strict=True
        )
    }
    assert weighted == {1: 0.5, 5: 1.0}


def test_a_past_turn_that_is_shown_in_other_words_is_an_example_of_its_own(families: Any) -> None:
    made = families("qwen3-tools")
    first, last = made.tokens.conversation(THOUGHT, [], {1: 1.0, 3: 1.0})
    texts = [made.theirs.decode([token for s in e.segments for token in s.ids]) for e in (first, last)]
    assert (first.turns, last.turns) == ([1], [3])
    assert "It is so." in texts[0] and "It is so." not in texts[1], "its thinking is gone once it is past"
    steps = CALLED[:2] + CALLED[2:4]
    steps[1] = {**steps[1], "reasoning_content": "I look."}
    (both,) = made.tokens.conversation(steps, TOOLS, {1: 1.0, 3: 1.0})
    assert both.turns == [1, 3], "while tools are called, its thinking stays"


@pytest.mark.parametrize("name", PUT_BACK)
def test_thinking_is_put_back(name: str, families: Any) -> None:
    made = families(name)
    examples = made.tokens.conversation(THOUGHT, [], {1: 1.0, 3: 1.0})
    told = [made.theirs.decode(list(example.segments[-2].ids)) for example in examples]
    assert told == [
        f"<think>\nIt is so.\n</think>\n\nBecause.{made.family.eos}",
        f"<think>\nThey doubt it.\n</think>\n\nYes.{made.family.eos}",
    ]
    assert [len(example.turns) for example in examples] == [1, 1], "past thinking is not shown"


def test_calls_of_tools_end_with_a_stop_of_their_own(families: Any) -> None:
    made = families("gpt-oss-tools")
    assert made.theirs.convert_ids_to_tokens(made.tokens.stops) == ["<|return|>", "<|call|>"]


@pytest.mark.parametrize("name", TURNS)
def test_a_long_conversation_is_asked_for_with_its_last_turns(name: str, families: Any) -> None:
    made = families(name)
    head = [said("system", "Be short.")] if "system" in made.family.shows else []
    pairs = [
        (said("user", f"Question {n}, " + "which is long, " * 6), said("assistant", f"Answer {n}.")) for n in range(9)
    ]
    messages = [*head, *(message for pair in pairs for message in pair), said("user", "And the last?")]
    whole = made.tokens.asked_messages(messages)
    kept = made.tokens.asked_messages(messages, room=len(whole) // 2)
    assert len(kept) <= len(whole) // 2
    first = next(n for n in range(9) if f"Question {n}," in made.theirs.decode(kept))
    assert 0 < first < 9 and kept == made.tokens.asked_messages([*head, *messages[len(head) + 2 * first :]])
    shortest = made.tokens.asked_messages([*head, said("user", "x " * 500 + "the end?")], room=len(whole) // 2)
    assert len(shortest) <= len(whole) // 2 and "the end?" in made.theirs.decode(shortest)
