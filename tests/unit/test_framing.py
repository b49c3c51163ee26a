"""Chat templates: what is packed is what the tokenizer's own template makes of a pair, or it is refused by name."""

import itertools
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import tokenizers.processors
from transformers import AutoTokenizer

from modelmill.core.errors import UserError
from modelmill.corpus import packing
from modelmill.corpus.text import tokenizer
from modelmill.corpus.text.chat_framing import Chat
from modelmill.corpus.text.framed import Placed
from modelmill.corpus.text.framing import Separated
from modelmill.corpus.text.pairs import Pair
from modelmill.corpus.text.settings import Pairs
from modelmill.corpus.text.tokenizer import Encoder
from tests.chat_models import CHATML, INSTRUCT, PLAIN, TRIMMED, write_chat_model

PAIRS = [
    Pair("def area(self):\n    return self.width ** 2\n", "The area in square metres."),
    Pair("  x = 1", "Sets x.\n\nTwice."),
]
TEMPLATES = {
    "chatml": (CHATML, {"eos_token": "<|im_end|>"}),
    "chatml, another end of text": (CHATML, {}),
    "trimmed": (TRIMMED, {"bos_token": "<s>"}),
    "instruct": (INSTRUCT, {"bos_token": "<s>", "eos_token": "</s>"}),
    "instruct, one token for both": (INSTRUCT, {}),
    "plain": (PLAIN, {}),
}


def chat_of(folder: Path, length: int = 256) -> Chat:
    return Chat(Pairs.model_validate({"from": "columns", "framing": "chat"}), Encoder(folder), folder, length)


def packed(folder: Path, pairs: list[Pair]) -> tuple[packing.Packed, Chat]:
    encoder, chat = Encoder(folder), chat_of(folder)
    examples = chat.examples([Placed(pair, row) for row, pair in enumerate(pairs)], "data.jsonl", Counter())
    stream = packing.PairStream(encoder.vocabulary.end, 256, encoder.dtype)
    return stream.pack([example.segments for example in examples]), chat


@pytest.mark.parametrize("own_file", [False, True])
@pytest.mark.parametrize("name", TEMPLATES)
def test_a_packed_pair_is_what_the_tokenizers_template_makes_of_it(name: str, own_file: bool, tmp_path: Path) -> None:
    template, special = TEMPLATES[name]
    folder = write_chat_model(tmp_path / "chat", template, own_file, **special)
    stream, _ = packed(folder, PAIRS)
    theirs = AutoTokenizer.from_pretrained(folder)
    bounds = [*stream.offsets.tolist(), len(stream.tokens)]
    found = [stream.tokens[a:b].tolist() for a, b in itertools.pairwise(bounds) if b - a > 1]
    for pair, ids in zip(PAIRS, found, strict=True):
        messages = [{"role": "user", "content": pair.prompt}, {"role": "assistant", "content": pair.response}]
        options = {"return_dict": False, "date_string": "26 Jul 2024"}
        text = theirs.apply_chat_template(messages, tokenize=False, **options)
        assert theirs.decode(ids).removesuffix(theirs.eos_token) == text.removesuffix(theirs.eos_token)
        asked = theirs.apply_chat_template(messages[:1], add_generation_prompt=True, **options)
        assert ids[: len(asked)] == asked, "whoever asks with the template is where training was"


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_response_and_its_end_are_learned_and_nothing_else(name: str, tmp_path: Path) -> None:
    template, special = TEMPLATES[name]
    folder = write_chat_model(tmp_path / "chat", template, **special)
    stream, chat = packed(folder, PAIRS)
    theirs = AutoTokenizer.from_pretrained(folder)
    assert stream.learned is not None
    runs = np.split(np.arange(len(stream.tokens)), np.flatnonzero(np.diff(stream.learned)) + 1)
    learned = [theirs.decode(stream.tokens[run]) for run in runs if stream.learned[run[0]]]
    ends = {"chatml": "<|im_end|>", "trimmed": "<|im_end|>", "instruct": theirs.eos_token}
    end = ends.get(name.split(",")[0], "\n" + theirs.eos_token)
    assert learned == [pair.response + end for pair in PAIRS]
    assert theirs.decode([chat.stop]) == end.strip()


def test_text_that_reads_like_a_mark_is_plain_text(tmp_path: Path) -> None:
    folder = write_chat_model(tmp_path / "chat", CHATML)
    stream, _ = packed(folder, [Pair("say <|im_end|>", "no <|im_start|>")])
    marks = {tokenizer.load(folder).token_to_id(mark) for mark in ("<|im_start|>", "<|im_end|>")}
    assert sum(int(token) in marks for token in stream.tokens) == 4, "those of the template alone"


REFUSED = {
    "a response twice": (CHATML + "{{ messages[-1].content }}", "opens a response that is asked for in other words"),
    "no response": ("{{ messages[0].content }}", "does not show the response as it is"),
    "no prompt": ("{% if messages | length > 1 %}{{ messages[1].content }}{% endif %}", "does not show the prompt"),
    "an error": ("{{ raise_exception('a system message is needed') }}", "fails: a system message is needed"),
    "not a template": ("{% for %}", "fails: "),
    "another question": (
        CHATML.replace("<|im_start|>assistant\n{% endif %}", "<|im_start|>model\n{% endif %}"),
        "opens a response that is asked for in other words",
    ),
    "a look at the machine": ("{{ messages.__class__.__mro__ }}" + CHATML, "fails: "),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_a_template_that_shows_no_pair_is_refused_by_name(mistake: str, tmp_path: Path) -> None:
    template, said = REFUSED[mistake]
    folder = write_chat_model(tmp_path / "chat", template)
    with pytest.raises(
        UserError, match=r"preprocessing\.pairs\.framing: chat: the tokenizer's chat template"
    ) as raised:
        chat_of(folder)
    assert said in str(raised.value) and "set framing: separator" in str(raised.value)


def test_a_pair_that_the_template_changes_is_refused_by_name(tmp_path: Path) -> None:
    template = CHATML.replace("{{ message.content }}", "{{ message.content.split('###')[-1] }}")
    chat = chat_of(write_chat_model(tmp_path / "chat", template))
    with pytest.raises(
        UserError,
        match=r"does not show the response as it is, but as 'so<\|im_end\|>\\n', at data\.jsonl row 5, with the",
    ):
        chat.examples([Placed(PAIRS[0], 3), Placed(Pair("why?", "hm###so"), 4)], "data.jsonl", Counter())


def test_todays_date_is_that_of_the_recipe(tmp_path: Path) -> None:
    folder = write_chat_model(tmp_path / "chat", "{{ strftime_now('%A %-d %B %Y, %H:%M, day %j') }}" + CHATML)
    settings = Pairs.model_validate({"from": "columns", "framing": "chat", "date": "2025-03-09"})
    chat = Chat(settings, Encoder(folder), folder, 256)
    text = AutoTokenizer.from_pretrained(folder).decode(chat.tokens.asked("why?"))
    assert text.startswith("Sunday 9 March 2025, 00:00, day 068<|im_start|>user")


@pytest.mark.parametrize("opens", [False, True])
def test_a_separator_frames_with_what_opens_a_text(opens: bool, tmp_path: Path) -> None:
    folder = write_chat_model(tmp_path / "chat", None)
    if opens:
        trained = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        begins = ("<s>", trained.token_to_id("<s>"))
        trained.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[begins])
        trained.save(str(folder / "tokenizer.json"))
    encoder = Encoder(folder)
    framing = Separated(Pairs.model_validate({"from": "columns"}), encoder, 64)
    (example,) = framing.examples([Placed(Pair("a prompt", "a response"), 0)], "data.jsonl", Counter())
    theirs = AutoTokenizer.from_pretrained(folder)
    opened = theirs("a prompt").input_ids if opens else [theirs.eos_token_id, *theirs("a prompt").input_ids]
    given, learned = (np.asarray(segment.ids).tolist() for segment in example.segments)
    assert given == [*opened, *encoder.vocabulary.separator]
    assert learned == [*theirs("a response", add_special_tokens=False).input_ids, theirs.eos_token_id]


def test_rendering_a_template_needs_no_torch(tmp_path: Path) -> None:
    folder = write_chat_model(tmp_path / "chat", CHATML)
    script = (
        "import sys, pathlib, datetime\nfrom modelmill.corpus.text.chat_tokens import ChatTokens\n"
        "ChatTokens(pathlib.Path(sys.argv[1]), datetime.date(2024, 7, 26), 0).asked('a')\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, str(folder)], check=True)
