"""Conversations, preferences and labelled answers as examples: what is learned, what is cut, and how it is packed."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

from modelmill.core.errors import UserError
from modelmill.corpus.packing import PairStream
from modelmill.corpus.text.answer_framing import Answers
from modelmill.corpus.text.chat_framing import Chat
from modelmill.corpus.text.conversations.conversation import Conversation, Labelled, Preference
from modelmill.corpus.text.framed import Framed, Placed
from modelmill.corpus.text.framing import framing_of
from modelmill.corpus.text.settings import Pairs
from modelmill.corpus.text.tokenizer import Encoder
from tests.chat_models import CHATML, write_chat_model


def said(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


SYSTEM = said("system", "Be short.")
LONG = Conversation(
    [SYSTEM] + [said(role, f"{role} {n} " + "of many words " * 4) for n in range(8) for role in ("user", "assistant")]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_chat_model(tmp_path_factory.mktemp("model") / "chat", CHATML, eos_token="<|im_end|>")


def framing(folder: Path, source: str, length: int = 1024, **settings: Any) -> Chat | Answers:
    asked = Pairs.model_validate({"from": source, "framing": "chat", **settings})
    made = framing_of(asked, Encoder(folder), folder, length)
    assert isinstance(made, Chat | Answers)
    return made


def made(folder: Path, one: Any, source: str = "messages", **settings: Any) -> tuple[list[Framed], Counter[str]]:
    counts: Counter[str] = Counter()
    return framing(folder, source, **settings).examples([Placed(one, 6)], "data.jsonl", counts), +counts


def ids(framed: Framed) -> list[int]:
    return [int(token) for segment in framed.segments for token in segment.ids]


def told(folder: Path, framed: Framed, weight: float = 1.0) -> list[str]:
    """The texts that are learned with a weight."""
    theirs: Any = AutoTokenizer.from_pretrained(folder)
    return [theirs.decode(list(segment.ids)) for segment in framed.segments if segment.weight == weight]


def test_what_is_learned_goes_by_the_setting_and_the_weights(folder: Path) -> None:
    messages = [*LONG.messages[:5], said("user", "and?"), said("assistant", "so"), said("assistant", "there")]
    every, counts = made(folder, Conversation(messages))
    assert [text[:11] for text in told(folder, every[0])] == [
        "assistant 0",
        "assistant 1",
        "so<|im_end|",
        "there<|im_e",
    ]
    assert counts == {"conversations": 1}
    (last,), _ = made(folder, Conversation(messages), learn="last_turn")
    assert told(folder, last) == ["so<|im_end|>", "there<|im_end|>"]
    weights = [1, 1, 0, 1, 0.25, 1, 1, 0]
    (weighted,), _ = made(folder, Conversation(messages, weights=weights))
    assert told(folder, weighted) == ["so<|im_end|>"] and len(told(folder, weighted, 0.25)) == 1
    assert weighted.record is not None and weighted.record["row"] == 6
    assert weighted.record["messages"] == messages[:7] and [n for n, _ in weighted.record["learned"]] == [4, 6]
    none, counts = made(folder, Conversation(messages, weights=[0.0] * 8))
    assert none == [] and counts == {"unlearned_conversations": 1}


def test_a_long_conversation_is_split_between_exchanges_and_keeps_its_system_message(folder: Path) -> None:
    parts, counts = made(folder, LONG, too_long="split", length=400)
    learned = [text for part in parts for text in told(folder, part)]
    assert [text.split(" of")[0] for text in learned] == [f"assistant {n}" for n in range(8)], "each once, in order"
    assert counts == {"conversations": 1, "split_conversations": 1} and 2 < len(parts) < 8
    theirs: Any = AutoTokenizer.from_pretrained(folder)
    for part in parts:
        assert part.record is not None and part.record["messages"][0] == SYSTEM
        assert part.record["messages"][1]["role"] == "user"
        assert (
            len(ids(part)) <= 400
            and ids(part) == theirs.apply_chat_template(part.record["messages"], return_dict=False)[: len(ids(part))]
        )


def test_a_long_conversation_that_is_not_split_keeps_its_last_exchanges(folder: Path) -> None:
    (kept,), counts = made(folder, LONG, length=400)
    learned = [text.split(" of")[0] for text in told(folder, kept)]
    assert learned == [f"assistant {n}" for n in range(8 - len(learned), 8)] and 1 < len(learned) < 8
    assert counts == {"conversations": 1, "left_out_turns": 8 - len(learned)} and len(ids(kept)) <= 400
    assert kept.record is not None and kept.record["messages"][0] == SYSTEM


@pytest.mark.parametrize("too_long", ["truncate_prompt", "split"])
def test_an_exchange_that_is_too_long_by_itself_loses_the_beginning_of_its_prompt(folder: Path, too_long: str) -> None:
    messages = [SYSTEM, said("user", "word " * 200 + "the end?"), said("assistant", "Yes."), *LONG.messages[1:3]]
    parts, counts = made(folder, Conversation(messages), too_long=too_long, length=200)
    assert all(len(ids(part)) <= 200 for part in parts)
    if too_long == "truncate_prompt":
        assert [told(folder, part)[0][:11] for part in parts] == ["assistant 0"] and counts["left_out_turns"] == 1
    else:
        assert told(folder, parts[0]) == ["Yes.<|im_end|>"] and counts["cut_prompts"] == 1
        assert parts[0].record is not None and parts[0].record["messages"][1]["content"].endswith("the end?")


def test_a_response_that_is_too_long_by_itself_teaches_no_stop(folder: Path) -> None:
    (cut,), counts = made(folder, Conversation([said("user", "Count."), said("assistant", "one " * 200)]), length=100)
    assert counts == {"conversations": 1, "cut_prompts": 1, "cut_responses": 1} and len(ids(cut)) <= 100
    assert "<|im_end|>" not in told(folder, cut)[0]


def test_long_conversations_are_dropped_or_refused_where_the_recipe_says_so(folder: Path) -> None:
    none, counts = made(folder, LONG, too_long="drop", length=200)
    assert none == [] and counts == {"dropped_pairs": 1}
    with pytest.raises(UserError, match=r"too_long: refuse: the conversation of data\.jsonl row 7 has \d+ tokens"):
        made(folder, LONG, too_long="refuse", length=200)


def test_a_conversation_that_a_template_refuses_is_named(folder: Path, tmp_path: Path) -> None:
    strict = (
        "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('no order') }}{% endif %}{% endfor %}"
    )
    model = write_chat_model(tmp_path / "chat", strict + CHATML)
    with pytest.raises(UserError, match=r"fails: no order, at data\.jsonl row 7, with the prompt 'a'") as raised:
        made(model, Conversation([said("user", "a"), said("user", "b"), said("assistant", "c")]))
    assert "correct the data or take another" in str(raised.value)


PREFERENCE = Preference([SYSTEM, said("user", "Why?")], [said("assistant", "So.")], [said("assistant", "No idea.")])


def test_the_answers_to_a_prompt_follow_it_and_are_told_apart(folder: Path) -> None:
    theirs: Any = AutoTokenizer.from_pretrained(folder)
    asked = theirs.apply_chat_template(PREFERENCE.prompt, add_generation_prompt=True, return_dict=False)
    (both,), _ = made(folder, PREFERENCE, source="preferences")
    assert ids(both)[: len(asked)] == asked
    assert told(folder, both) == ["So.<|im_end|>", "No idea.<|im_end|>"]
    assert [segment.side for segment in both.segments] == [0, 1, 2]
    for side, answer in ((1, PREFERENCE.chosen), (2, PREFERENCE.rejected)):
        (answered,) = [list(segment.ids) for segment in both.segments if segment.side == side]
        whole = theirs.apply_chat_template([*PREFERENCE.prompt, *answer], return_dict=False)
        assert whole[: len(asked) + len(answered)] == [*asked, *answered]
    assert both.record == {"row": 6, "messages": PREFERENCE.prompt, "tools": [], "chosen": PREFERENCE.chosen} | {
        "rejected": PREFERENCE.rejected
    }


@pytest.mark.parametrize("is_good", [True, False])
def test_a_labelled_answer_is_on_the_side_of_its_label(folder: Path, is_good: bool) -> None:
    (one,), _ = made(folder, Labelled(PREFERENCE.prompt, PREFERENCE.chosen, is_good), source="labelled")
    assert [segment.side for segment in one.segments] == [0, 1 if is_good else 2]
    assert told(folder, one) == ["So.<|im_end|>"] and one.record is not None and one.record["is_good"] is is_good


def test_a_prompt_leaves_room_for_the_longer_answer_or_the_preference_is_dropped(folder: Path) -> None:
    prompt = [SYSTEM, said("user", "word " * 100 + "end?")]
    (cut,), counts = made(folder, PREFERENCE._replace(prompt=prompt), source="preferences", length=64)
    sizes = [len(segment.ids) for segment in cut.segments]
    assert sizes[0] + max(sizes[1:]) <= 64 and counts == {"cut_prompts": 1}
    long = PREFERENCE._replace(rejected=[said("assistant", "word " * 100)])
    assert made(folder, long, source="preferences", length=64) == ([], {"dropped_pairs": 1})


def test_sides_and_weights_are_packed_beside_the_tokens(folder: Path) -> None:
    encoder = Encoder(folder)
    answers, _ = made(folder, PREFERENCE, source="preferences")
    packed = PairStream(encoder.vocabulary.end, 64, encoder.dtype, frozenset({"sides"})).pack([answers[0].segments] * 3)
    size = len(ids(answers[0]))
    assert packed.sides is not None and packed.learned is not None and packed.weights is None
    spans = [(int(a), int(b)) for a, b in zip(packed.offsets[:-1], packed.offsets[1:], strict=True) if b - a > 1]
    assert [b - a for a, b in spans] == [size] * 3, "each example has both of its ends"
    expected = [segment.side for segment in answers[0].segments for _ in segment.ids]
    for begin, end in spans:
        assert packed.sides[begin:end].tolist() == expected and packed.tokens[begin:end].tolist() == ids(answers[0])
        assert packed.learned[begin:end].tolist() == [int(side > 0) for side in expected]
    weighted, _ = made(folder, Conversation(LONG.messages[:5], weights=[0.0, 0, 0.5, 0, 1]))
    packed = PairStream(encoder.vocabulary.end, 1024, encoder.dtype, frozenset({"weights"})).pack(
        [weighted[0].segments]
    )
    assert packed.weights is not None and packed.weights.dtype == np.float32
    weights = [segment.weight for segment in weighted[0].segments for _ in segment.ids]
    assert packed.weights[: len(weights)].tolist() == weights
