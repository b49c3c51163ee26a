"""Chat templates: what is packed is what the tokenizer's own template makes of a pair, or it is refused by name."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from modelmill.core.errors import UserError
from modelmill.corpus import packing
from modelmill.corpus.text import tokenizer
from modelmill.corpus.text.framing import DATE, Chat, Separated
from modelmill.corpus.text.pairs import Pair
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


def packed(folder: Path, pairs: list[Pair]) -> tuple[packing.Packed, Chat]:
    encoder = Encoder(folder)
    chat = Chat(folder, encoder.vocabulary.end)
    fitted = [chat.fitted(pair, row) for row, pair in enumerate(pairs)]
    both = list(zip(*(encoder.ids([p[part] for p in fitted]) for part in (0, 1)), strict=True))
    return packing.pack_pairs(both, encoder.vocabulary.end, chat.frame, 256, encoder.dtype), chat


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
        options = {"return_dict": False, "date_string": DATE}
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
    ends = {"chatml": "<|im_end|>\n", "trimmed": "<|im_end|>", "instruct": theirs.eos_token}
    end = ends.get(name.split(",")[0], "\n" + theirs.eos_token)
    assert learned == [pair.response + end for pair in PAIRS]
    assert theirs.decode([chat.frame.stop]) == end.strip()


def test_text_that_reads_like_a_mark_is_plain_text(tmp_path: Path) -> None:
    folder = write_chat_model(tmp_path / "chat", CHATML)
    stream, _ = packed(folder, [Pair("say <|im_end|>", "no <|im_start|>")])
    marks = {tokenizer.load(folder).token_to_id(mark) for mark in ("<|im_start|>", "<|im_end|>")}
    assert sum(int(token) in marks for token in stream.tokens) == 4, "those of the template alone"


REFUSED = {
    "today's date": ("{{ strftime_now('%d') }}" + CHATML, "writes today's date into every pair"),
    "a response twice": (CHATML + "{{ messages[-1].content }}", "does not show prompt and response once each"),
    "no response": ("{{ messages[0].content }}", "does not show prompt and response once each"),
    "an error": ("{{ raise_exception('a system message is needed') }}", "fails: a system message is needed"),
    "not a template": ("{% for %}", "fails: "),
    "another question": (
        CHATML.replace("<|im_start|>assistant\n{% endif %}", "<|im_start|>model\n{% endif %}"),
        "opens a response that is asked for in other words",
    ),
    "joined characters": (
        "{% for message in messages %}{{ message.role }}: {{ message.content }}</s>{% endfor %}",
        "the tokenizer joins their characters",
    ),
    "a look at the machine": ("{{ messages.__class__.__mro__ }}" + CHATML, "fails: "),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_a_template_that_no_frame_stands_for_is_refused_by_name(mistake: str, tmp_path: Path) -> None:
    template, said = REFUSED[mistake]
    folder = write_chat_model(tmp_path / "chat", template)
    with pytest.raises(
        UserError, match=r"preprocessing\.pairs\.framing: chat: the tokenizer's chat template"
    ) as raised:
        Chat(folder, 0)
    assert said in str(raised.value) and "set framing: separator" in str(raised.value)


def test_a_pair_that_the_template_treats_in_another_way_is_refused_by_name(tmp_path: Path) -> None:
    template = CHATML.replace("{{ message.content }}", "{{ message.content.split('</think>')[-1] }}")
    chat = Chat(write_chat_model(tmp_path / "chat", template), 0)
    assert chat.fitted(PAIRS[0], 4) == PAIRS[0]
    with pytest.raises(UserError, match=r"changes the pair of row 5 that begins 'why\?', as it does not others"):
        chat.fitted(Pair("why?", "<think>hm</think>so"), 4)


def test_a_separator_frames_as_it_did(tmp_path: Path) -> None:
    folder = write_chat_model(tmp_path / "chat", None)
    vocabulary = tokenizer.vocabulary(folder)
    frame = Separated(vocabulary).frame
    assert (frame.before, frame.between, frame.after) == ([vocabulary.end], vocabulary.separator, [vocabulary.end])


def test_rendering_a_template_needs_no_torch(tmp_path: Path) -> None:
    folder = write_chat_model(tmp_path / "chat", CHATML)
    script = (
        "import sys, pathlib\nfrom modelmill.corpus.text.framing import Chat\n"
        "Chat(pathlib.Path(sys.argv[1]), 0)\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, str(folder)], check=True)
