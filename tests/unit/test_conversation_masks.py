"""Whole conversations in templates of families: each message is learned as the model is asked for it, and none else."""

import itertools
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from transformers import AutoTokenizer
from transformers.utils import chat_template_utils

from modelmill.corpus.text import given_tokenizer
from modelmill.corpus.text.chat_tokens import Chatted, ChatTokens
from modelmill.corpus.text.conversations.conversation import Conversation
from modelmill.corpus.text.shown import UnfitTemplateError
from modelmill.corpus.text.tokenizer import Encoder
from tests.chat_families import TURNS, Family, marked, write

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
        taken, tools=conversation.tools or None, add_generation_prompt=asks, **{"return_dict": False, **options}
    )


def as_text(one: dict[str, Any]) -> dict[str, Any]:
    import json

    function = one["function"]
    return {**one, "function": {**function, "arguments": json.dumps(function["arguments"])}}


@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("name", TURNS)
def test_each_message_is_learned_once_where_the_model_is_asked_for_it(name: str, chat: str, families: Any) -> None:
    made, (conversation, needed) = families(name), CHATS[chat]
    weights = learned_by_roles(conversation)
    if needed and needed not in made.family.shows and name != "deepseek-r1":
        with pytest.raises(UnfitTemplateError):
            made.tokens.conversation(conversation.messages, conversation.tools, weights)
        return
    if needed == "thinking" and name == "deepseek-r1":
        pytest.skip("its template leaves thinking out; see test_thinking_is_put_back")
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
