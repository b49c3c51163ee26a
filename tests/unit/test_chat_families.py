"""Chat templates of families of models: what is learned is what the tokenizer's own template renders."""

import itertools
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from transformers import AutoTokenizer
from transformers.utils import chat_template_utils

from modelmill.core.errors import UserError
from modelmill.corpus.text import given_tokenizer
from modelmill.corpus.text.chat_framing import Chat
from modelmill.corpus.text.framed import Framed, Placed
from modelmill.corpus.text.pairs import Pair
from modelmill.corpus.text.settings import Pairs
from modelmill.corpus.text.tokenizer import Encoder
from tests.chat_families import ASKS_TO_THINK, FAMILIES, MARKED, Family, write

PAIRS = [
    Pair("def area(self):\n    return self.width ** 2\n", "The area in square metres."),
    Pair("What is 6 x 7?", "It is 42.\n\nAs  a list:\n- forty\n- two"),
    Pair("  x = 1", "Ünïcode 語."),
]
DAY = date(2025, 3, 9)


class Three(NamedTuple):
    """The ids of a pair."""

    given: list[int]
    learned: list[int]
    rest: list[int]


class Day:
    """A clock that stands still."""

    @staticmethod
    def now() -> date:
        return DAY


def made(folder: Path, family: Family, length: int = 512, **settings: Any) -> tuple[Chat, Any]:
    """The framing of a family's folder as a run has it, and the tokenizer that users have."""
    source = write(folder / "source", family)
    given_tokenizer.copy(source, folder / "copied")
    asked = Pairs.model_validate({"from": "columns", "framing": "chat", "date": DAY, **settings})
    theirs = AutoTokenizer.from_pretrained(source)
    return Chat(asked, Encoder(folder / "copied"), folder / "copied", length), theirs


def examples(chat: Chat, pairs: list[Pair]) -> list[Three]:
    return cut_up(chat.examples([Placed(pair, row) for row, pair in enumerate(pairs)], "data.jsonl", Counter()))


def cut_up(framed: list[Framed]) -> list[Three]:
    return [Three(*(list(segment.ids) for segment in one.segments)) for one in framed]


def chatted(pair: Pair) -> list[dict[str, str]]:
    return [{"role": "user", "content": pair.prompt}, {"role": "assistant", "content": pair.response}]


@pytest.fixture(autouse=True)
def the_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_template_utils, "datetime", Day)
    chat_template_utils._compile_jinja_template.cache_clear()


@pytest.mark.parametrize("name", FAMILIES)
def test_an_example_is_token_by_token_what_the_template_makes_of_the_pair(name: str, tmp_path: Path) -> None:
    chat, theirs = made(tmp_path, FAMILIES[name])
    for pair, (given, learned, rest) in zip(PAIRS, examples(chat, PAIRS), strict=True):
        chatted_ids = theirs.apply_chat_template(chatted(pair), return_dict=False)
        asked = theirs.apply_chat_template(chatted(pair)[:1], add_generation_prompt=True, return_dict=False)
        assert [*given, *learned, *rest] == chatted_ids
        assert given == asked, "whoever asks with the template is where training was"
        assert learned[-1] == chat.stop and chat.stop not in learned[:-1] and chat.stop not in rest


@pytest.mark.parametrize("name", FAMILIES)
def test_the_response_and_what_ends_it_are_learned(name: str, tmp_path: Path) -> None:
    chat, theirs = made(tmp_path, FAMILIES[name])
    for pair, (_, learned, rest) in zip(PAIRS, examples(chat, PAIRS), strict=True):
        said = theirs.decode(learned[:-1], skip_special_tokens=False)
        assert said.endswith(pair.response) or said.rstrip() == pair.response, "nothing of it is left out"
        assert theirs.decode(rest, skip_special_tokens=True).strip() == ""
        assert said.removesuffix(" ").removesuffix(pair.response) in {
            *("", " ", "<think>\n\n</think>\n\n", "<|channel|>final<|message|>", "<|assistant|>\n")
        }


def test_where_characters_join_the_prompt_is_what_the_model_will_be_asked(tmp_path: Path) -> None:
    # To GPT-2's tokenizer the second of two line ends is a word by itself before a letter, and not at a text's end.
    chat, theirs = made(tmp_path, FAMILIES["llama-3.2"]._replace(words=""))
    for pair, (given, learned, rest) in zip(PAIRS, examples(chat, PAIRS), strict=True):
        asked = theirs.apply_chat_template(chatted(pair)[:1], add_generation_prompt=True, return_dict=False)
        whole = theirs.apply_chat_template(chatted(pair), return_dict=False)
        assert given == asked and [*given, *learned, *rest] != whole
        assert theirs.decode([*given, *learned, *rest]) == theirs.decode(whole)


THOUGHTS = [
    Pair("why?", "<think>\nIt is so.\n</think>\n\nBecause."),
    Pair("why?", "<think>It is so.</think>Because."),
]


@pytest.mark.parametrize("pair", THOUGHTS)
@pytest.mark.parametrize(
    ("family", "opens"), [(FAMILIES["qwen3"], ""), (FAMILIES["deepseek-r1"], ""), (ASKS_TO_THINK, "<think>\n")]
)
def test_thinking_is_learned(pair: Pair, family: Family, opens: str, tmp_path: Path) -> None:
    chat, theirs = made(tmp_path, family)
    ((given, learned, _),) = examples(chat, [pair])
    asked = theirs.apply_chat_template(chatted(pair)[:1], add_generation_prompt=True, return_dict=False)
    assert given == asked
    said = opens + theirs.decode(learned, skip_special_tokens=False)
    assert "".join(said.split()) == "".join((pair.response + family.eos).split())
    assert theirs.convert_tokens_to_ids("</think>") in learned, "the token, not its characters"


def test_an_answer_without_thinking_closes_it_where_the_template_opens_it(tmp_path: Path) -> None:
    chat, theirs = made(tmp_path, ASKS_TO_THINK)
    ((given, learned, _),) = examples(chat, [Pair("why?", "Because.")])
    assert theirs.decode(given).endswith("<think>\n")
    assert theirs.decode(learned) == "\n</think>\n\nBecause.<eos>"


def test_what_a_template_marks_as_generated_is_learned_where_it_asks_in_other_words(tmp_path: Path) -> None:
    chat, theirs = made(tmp_path, MARKED)
    ((given, learned, rest),) = examples(chat, PAIRS[:1])
    output = theirs.apply_chat_template(chatted(PAIRS[0]), return_assistant_tokens_mask=True, return_dict=True)
    assert [*given, *learned, *rest] == output["input_ids"]
    assert output["assistant_masks"].index(1) == len(given)
    assert chat.tokens.asked(PAIRS[0].prompt) == given, "the served model is asked as in training"


@pytest.mark.parametrize("name", FAMILIES)
def test_text_of_data_never_becomes_a_special_token(name: str, tmp_path: Path) -> None:
    family = FAMILIES[name]
    chat, theirs = made(tmp_path, family)
    marks = " ".join(family.special)
    plain, marked = examples(chat, [Pair("say", "no"), Pair(f"say {marks}", f"{marks} no")])
    special = {theirs.convert_tokens_to_ids(token) for token in family.special}
    counted = [sum(token in special for part in example for token in part) for example in (plain, marked)]
    assert counted[0] == counted[1], "those of the template alone"
    pair = Pair(f"say {marks}", f"{marks} no")
    whole = theirs.apply_chat_template(chatted(pair), return_dict=False)
    assert theirs.decode(list(itertools.chain(*marked))) == theirs.decode(whole)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_long_pair_keeps_the_template_and_the_end_of_its_prompt(name: str, tmp_path: Path) -> None:
    chat, theirs = made(tmp_path, FAMILIES[name], length=120)
    counts: Counter[str] = Counter()
    long = Pair("".join(f"word {n} " for n in range(90)) + "and the question?", "The answer.")
    (cut,) = cut_up(chat.examples([Placed(long, 0)], "data.jsonl", counts))
    assert counts == {"cut_prompts": 1} and 112 <= len(cut.given) + len(cut.learned) <= chat.room
    assert cut.learned[-1] == chat.stop
    text = theirs.decode(cut.given)
    assert "and the question?" in text and "word 0 " not in text
    kept = chat.tokens.asked(long.prompt, len(cut.given))
    assert kept == cut.given, "the served model cuts as training did"
    short = theirs.decode(chat.tokens.asked("Q"))
    assert text.startswith(short.partition("Q")[0]) and text.endswith(short.rpartition("Q")[2])


@pytest.mark.parametrize("name", FAMILIES)
def test_a_response_that_is_cut_teaches_no_stop(name: str, tmp_path: Path) -> None:
    chat, _ = made(tmp_path, FAMILIES[name], length=120)
    counts: Counter[str] = Counter()
    placed = [Placed(Pair("Count.", "".join(f"{n} " for n in range(300))), 0)]
    (cut,) = cut_up(chat.examples(placed, "data.jsonl", counts))
    assert counts == {"cut_prompts": 1, "cut_responses": 1}
    assert chat.stop not in cut.learned and sum(map(len, cut)) <= chat.room


def test_long_pairs_are_dropped_or_refused_where_the_recipe_says_so(tmp_path: Path) -> None:
    pairs = [Placed(PAIRS[0], 4), Placed(Pair("long " * 99, "short"), 5), Placed(Pair("short", "long " * 99), 6)]
    drops, _ = made(tmp_path / "drop", FAMILIES["qwen2.5"], length=120, too_long="drop")
    counts: Counter[str] = Counter()
    assert len(drops.examples(pairs, "data.jsonl", counts)) == 1 and counts == {"dropped_pairs": 2}
    refuses, _ = made(tmp_path / "refuse", FAMILIES["qwen2.5"], length=120, too_long="refuse")
    with pytest.raises(UserError, match=r"too_long: refuse: the pair of data\.jsonl row 6 has \d+ tokens"):
        refuses.examples(pairs, "data.jsonl", Counter())
