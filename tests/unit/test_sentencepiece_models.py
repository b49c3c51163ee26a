"""Tokenizers made of SentencePiece files, held against what that library makes of the same texts."""

import json
from pathlib import Path

import pytest

from modelmill.core.errors import UserError
from modelmill.runtime.sources import tokenizer
from modelmill.runtime.sources.layout import PAIRED_TOKENIZERS
from modelmill.tasks.translation.framing import Framing
from modelmill.tasks.translation.recipe import TranslationPreprocessing
from modelmill.tasks.translation.sides import Decoder, Encoder, Sides
from tests import sentencepieces
from tests.sentencepieces import MERGED, SOURCE, TARGET, TEXTS

# What the library says of the models' pieces: `SentencePieceProcessor.encode(text, out_type=str)`.
READ = [
    ["▁a", "▁word"],
    ["▁word", "s", ",", "▁a"],
    ["▁", "wor", "▁", "☃☃", "▁word", "☃", "s"],
    ["▁", "oh", "▁", "ja"],
    ["▁", "</", "s", ">", "▁", "<unk>"],
    [],
]
WRITTEN = [
    ["▁", "a", "▁", "w", "o", "rd"],
    ["▁", "w", "o", "rd", "s", ",", "▁", "a"],
    ["▁", "w", "o", "r", "▁", "☃☃", "▁", "w", "o", "rd☃", "s"],
    ["▁oh", "▁ja"],
    ["▁", "</", "s", ">", "▁", "<unk>"],
    [],
]
MERGES = [
    ["▁", "a", "▁word"],
    ["▁word", "s", ",", "▁", "a"],
    ["▁wo", "r", "▁", "☃☃", "▁word", "☃", "s"],
    ["▁", "o", "h", "▁", "j", "a"],
    ["▁", "</", "s", ">", "▁", "<unk>"],
    [],
]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write(folder: Path, vocabulary: dict[str, int], **config: object) -> dict[str, int]:
    """Files as the hub has them, beside the models."""
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "config.json").write_text(json.dumps(config))
    return vocabulary


def made(folder: Path, **preprocessing: object) -> tuple[Path, Sides]:
    """The folder with what steps read, and both sides."""
    ready = tokenizer.ready("it", folder)
    for name in ("config.json", "vocab.json"):
        (ready / name).write_bytes((folder / name).read_bytes())
    settings = TranslationPreprocessing.model_validate({"sequence_length": 16, **preprocessing})
    return ready, Framing(ready, settings).sides()


def test_a_marian_reads_each_side_by_its_own_model_and_numbers_pieces_by_the_vocabulary(tmp_path: Path) -> None:
    sentencepieces.write(tmp_path, "source.spm", SOURCE)
    sentencepieces.write(tmp_path, "target.spm", TARGET)
    # No piece "▁a" and no "o": pieces without a number are unknown.
    pieces = ["☃☃", "▁", "▁oh", "▁ja", "▁word", "wor", "s", "d", ",", "h"]
    tokens = ["</s>", "<unk>", *pieces, ">>ukr<<", "<pad>"]
    numbers = write(tmp_path, {token: number for number, token in enumerate(tokens)}, model_type="marian")
    folder, sides = made(tmp_path, languages={"target": "ukr"})
    for side, expected, before in ((sides.source, READ, [numbers[">>ukr<<"]]), (sides.target, WRITTEN, [])):
        wanted = [[*before, *(numbers.get(piece, 1) for piece in one), 0] for one in expected]
        assert Encoder(folder, side).ids(TEXTS) == wanted
    written = [numbers[one] for one in ("▁", "☃☃", "▁oh", "s", "</s>", "<pad>")]
    assert Decoder(folder, sides).text(written) == "☃☃ ohs"


def test_an_m2m100_reads_by_merges_and_has_its_languages_after_the_vocabulary(tmp_path: Path) -> None:
    sentencepieces.write(tmp_path, "sentencepiece.bpe.model", MERGED, kind=2)
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *(piece for piece, _ in MERGED[2:])]
    numbers = write(tmp_path, {token: number for number, token in enumerate(tokens)}, model_type="m2m_100")
    named = {"additional_special_tokens": ["__en__", "__uk__"], "eos_token": "</s>"}
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(named))
    folder, sides = made(tmp_path, languages={"source": "en", "target": "uk"})
    for side, first in ((sides.source, len(tokens)), (sides.target, len(tokens) + 1)):
        wanted = [[first, *(numbers.get(piece, 3) for piece in one), 2] for one in MERGES]
        assert Encoder(folder, side).ids(TEXTS) == wanted
    assert Decoder(folder, sides).text([2, len(tokens) + 1, numbers["▁word"], numbers["s"], 2]) == "words"


def test_files_that_do_not_belong_together_are_one_line(tmp_path: Path) -> None:
    for name in ("source.spm", "target.spm"):
        sentencepieces.write(tmp_path, name, SOURCE)
    write(tmp_path, {"</s>": 0, "<unk>": 1, "▁": 5})
    with pytest.raises(UserError, match=r"vocab.json does not number its tokens from 0 on"):
        tokenizer.ready("it", tmp_path)
    write(tmp_path, {"</s>": 0, "<unk>": 1, "<pad>": 2})
    sentencepieces.write(tmp_path, "target.spm", MERGED, kind=2)
    with pytest.raises(UserError, match=r"target.spm is a SentencePiece model of another kind"):
        tokenizer.ready("it", tmp_path)
    (tmp_path / "source.spm").write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match=r"source.spm is "):
        tokenizer.ready("it", tmp_path)
    assert not list((tmp_path / "cache").rglob(PAIRED_TOKENIZERS[0]))
