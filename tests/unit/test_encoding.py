"""A shard's arrays are, byte for byte, those of the plainest way to make them; words give the tokenizer's own ids."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers

from modelmill.core.errors import UserError
from modelmill.corpus import packing
from modelmill.corpus.array_file import ArrayFile
from modelmill.corpus.text import documents, encoding, given_tokenizer, tokenizer, words
from modelmill.corpus.text.framed import Placed
from modelmill.corpus.text.framing import Separated
from modelmill.corpus.text.pairs import Pair
from modelmill.corpus.text.settings import LanguagePreprocessing, Pairs
from modelmill.data import shards
from tests.recipes import source_file, write_corpus

U16 = np.dtype(np.uint16)
END = 0
BOS, SEPARATOR = 301, [1]
ids = st.lists(st.integers(2, 300), max_size=40)
# What a word can begin and end with, spaces of all kinds, and what a Python and a Rust library may see otherwise.
texts = st.lists(
    st.sampled_from(
        [
            *"ab Zz09_'.!\n\t\r\x0b\x0c\x1c\x1f\x7f",
            *"\x85\xa0\u180e\u2003\u2028\u3000\u200b\ufeffé\u0301½\u2167\u0663語\U0001d7d9😀",
            *["'s", "'ll", "  ", "\n\n  ", "return self", "don't", tokenizer.END_OF_TEXT, tokenizer.RESPONSE],
        ]
    )
    | st.text(max_size=3)
).map("".join)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tokenizer")
    tokenizer.train((source_file(n) for n in range(100)), 400, made)
    return made


class Reference:
    """The stream of documents or pairs in plain lists, each token looked at by itself."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.offsets: list[int] = []
        self.learned: list[int] = []

    def open(self, closes_response: bool) -> None:
        self.offsets.append(len(self.tokens))
        self.tokens.append(END)
        self.learned.append(int(closes_response))

    def documents(self, found: Sequence[Sequence[int]]) -> "Reference":
        for document in found:
            self.open(False)
            self.tokens += document
        self.open(False)
        return self

    def opened_documents(self, found: Sequence[Sequence[int]], opening: Sequence[int]) -> "Reference":
        for document in found:
            self.offsets.append(len(self.tokens))
            self.tokens += [*opening, *document, END]
            self.learned += [0] * len(opening) + [1] * (len(document) + 1)
        self.offsets.append(len(self.tokens))
        self.tokens.append(opening[0])
        self.learned.append(0)
        return self

    def pairs(
        self, found: Sequence[tuple[Sequence[int], Sequence[int]]], opening: Sequence[int], length: int
    ) -> "Reference":
        """Pairs with a separator between them; END opens a pair, and closes the one before, unless BOS opens it."""
        closed = False
        for prompt, response in found:
            left = length - 1 - len(opening) - len(SEPARATOR)
            is_cut = len(response) > left
            response = response[:left]
            prompt = prompt[max(0, len(prompt) - (left - len(response))) :]
            body = [*opening, *prompt, *SEPARATOR, *response] + ([END] if opening else [])
            learned = [0] * (len(opening) + len(prompt) + 1) + [1] * len(response) + [int(not is_cut)]
            if len(self.tokens) % length + len(body) + (not opening) > length:
                while len(self.tokens) % length:
                    self.open(closed)
                    closed = False
            if opening:
                self.offsets.append(len(self.tokens))
            else:
                self.open(closed)
                closed = bool(learned.pop())
            self.tokens += body
            self.learned += learned
        self.open(closed)
        return self


@given(texts)
@example(".\x1c!")
@example("Ж  ж\xa0 語\u2003\n x")
def test_words_give_the_ids_that_the_tokenizer_gives(folder: Path, text: str) -> None:
    trained = tokenizer.load(folder)
    assert words.apply_to(trained)
    known = words.Words(trained, U16)
    expected = trained.encode(text, add_special_tokens=False).ids
    assert known.encode(text).tolist() == expected
    assert known.encode(text).tolist() == expected, "from what it has kept"
    cut = trained.pre_tokenizer.pre_tokenize_str
    of_its_words = [part for word in words.split(text) for part, _ in cut(word)]
    assert of_its_words == [part for part, _ in cut(text)], "whatever this tokenizer has learned to merge"


def test_words_are_forgotten_before_they_are_too_many(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "_MOST_WORDS", 10)
    trained = tokenizer.load(folder)
    known = words.Words(trained, U16)
    for n in range(30):
        assert known.encode(source_file(n)).tolist() == trained.encode(source_file(n), add_special_tokens=False).ids
        assert len(known) <= 10


def _changed(folder: Path, change: str) -> Tokenizer:
    trained = tokenizer.load(folder)
    if change == "normalizer":
        trained.normalizer = normalizers.Lowercase()
    elif change == "prefix":
        trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    elif change == "no words":
        trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    elif change == "other words":
        trained.pre_tokenizer = pre_tokenizers.Metaspace()
    elif change == "none":
        trained.pre_tokenizer = None
    elif change == "added":
        trained.add_tokens([AddedToken("re turn")])
    elif change == "dropout":
        trained.model.dropout = 0.5
    elif change == "special":
        trained.encode_special_tokens = False
    return trained


@pytest.mark.parametrize(
    "change", ["normalizer", "prefix", "no words", "other words", "none", "added", "dropout", "special"]
)
def test_words_are_not_for_a_tokenizer_that_does_more_than_merge_them(folder: Path, change: str) -> None:
    assert not words.apply_to(_changed(folder, change))


@given(st.lists(st.lists(ids, min_size=1, max_size=6), min_size=1, max_size=5))
def test_documents_packed_in_batches_are_one_stream(batches: list[list[list[int]]]) -> None:
    expected = Reference().documents([document for batch in batches for document in batch])
    tokens, offsets = [], []
    for batch in batches:
        packed = packing.pack_documents([np.array(d, U16) for d in batch], END, U16, len(tokens))
        tokens += packed.tokens[:-1].tolist()
        offsets += packed.offsets[:-1].tolist()
    assert ([*tokens, END], [*offsets, len(tokens)]) == (expected.tokens, expected.offsets)


@given(st.lists(st.lists(ids, min_size=1, max_size=6), min_size=1, max_size=5))
def test_documents_that_bos_opens_are_one_stream(batches: list[list[list[int]]]) -> None:
    expected = Reference().opened_documents([document for batch in batches for document in batch], [BOS])
    tokens, offsets, learned = [], [], []
    for batch in batches:
        packed = packing.pack_documents([np.array(d, U16) for d in batch], END, U16, len(tokens), [BOS])
        assert packed.learned is not None and packed.learned.dtype == np.uint8
        tokens += packed.tokens[:-1].tolist()
        offsets += packed.offsets[:-1].tolist()
        learned += packed.learned[:-1].tolist()
    assert ([*tokens, BOS], [*offsets, len(tokens)]) == (expected.tokens, expected.offsets)
    assert [*learned, 0] == expected.learned


class Given:
    """An encoder of texts that are token ids in JSON already."""

    dtype = U16

    def __init__(self, opening: list[int]) -> None:
        self.vocabulary = tokenizer.Vocabulary(302, END, SEPARATOR, opening)

    def ids(self, texts: list[str]) -> list[np.ndarray]:
        return [np.array(json.loads(text), U16) for text in texts]


@given(
    st.lists(st.lists(st.tuples(ids, ids), min_size=1, max_size=6), min_size=1, max_size=5),
    st.sampled_from([[], [BOS]]),
    st.integers(10, 48),
)
def test_pairs_packed_in_batches_are_one_stream(
    batches: list[list[tuple[list[int], list[int]]]], opening: list[int], length: int
) -> None:
    expected = Reference().pairs([pair for batch in batches for pair in batch], opening, length)
    framing = Separated(Pairs.model_validate({"from": "columns"}), cast(Any, Given(opening)), length)
    stream = packing.PairStream(END, length, U16)
    tokens, offsets, learned = [], [], []
    counts: Counter[str] = Counter()
    for batch in batches:
        placed = [Placed(Pair(json.dumps(p), json.dumps(r)), 0) for p, r in batch]
        packed = stream.pack([example.segments for example in framing.examples(placed, "", counts)])
        assert packed.learned is not None and (packed.tokens.dtype, packed.learned.dtype) == (U16, np.uint8)
        closed = int(packed.learned[-1])
        tokens += packed.tokens[:-1].tolist()
        offsets += packed.offsets[:-1].tolist()
        learned += packed.learned[:-1].tolist()
    assert [*tokens, END] == expected.tokens
    assert [*offsets, len(tokens)] == expected.offsets
    assert [*learned, closed] == expected.learned
    left = length - 1 - len(opening) - len(SEPARATOR)
    pairs = [pair for batch in batches for pair in batch]
    assert counts["cut_responses"] == sum(len(response) > left for _, response in pairs)
    assert counts["cut_prompts"] == sum(bool(p) and len(p) + len(r) > left for p, r in pairs)


def test_long_pairs_are_dropped_or_refused_where_the_recipe_says_so() -> None:
    placed = [
        Placed(Pair(json.dumps([7] * p), json.dumps([8] * r)), row) for row, (p, r) in enumerate([(5, 9), (6, 9)])
    ]

    def made(too_long: str) -> Separated:
        settings = Pairs.model_validate({"from": "columns", "too_long": too_long})
        return Separated(settings, cast(Any, Given([])), 16)

    counts: Counter[str] = Counter()
    (kept,) = made("drop").examples(placed, "data.jsonl", counts)
    assert [len(segment.ids) for segment in kept.segments] == [7, 10] and counts == {"dropped_pairs": 1}
    with pytest.raises(UserError, match=r"too_long: refuse: the pair of data\.jsonl row 2 has 18 tokens .* and 17 fit"):
        made("refuse").examples(placed, "data.jsonl", Counter())


@pytest.mark.parametrize("words_apply", [True, False])
@pytest.mark.parametrize("batch", [1, 3000, 1 << 20])
def test_a_shard_is_encoded_to_the_bytes_of_the_plainest_way(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words_apply: bool, batch: int
) -> None:
    monkeypatch.setattr(encoding, "_BATCH", batch)
    other = tmp_path / "tokenizer"
    given_tokenizer.copy(folder, other)
    if not words_apply:
        _changed(folder, "normalizer").save(str(other / "tokenizer.json"))
    (shard,) = shards.find(str(write_corpus(tmp_path / "data", files=80, shards=1)), "jsonl")
    fractions = {"split_by": "path", "validation": 0.2, "test": 0.2}
    settings = LanguagePreprocessing.model_validate(
        {**fractions, "sequence_length": 64, "pairs": {"from": "python_docstrings"}}
    )
    files, counts = encoding.encode(shard, shard.tag, settings, other, tmp_path / "encoded")
    trained = tokenizer.load(other)
    assert words.apply_to(trained) == words_apply

    def plain(text: str) -> list[int]:
        return trained.encode(text, add_special_tokens=False).ids

    expected = {}
    for split in ("train", "validation", "test"):
        found = [d for d in documents.read(shard, shard.tag, settings) if d.split == split]
        pairs = [(plain(p.prompt), plain(p.response)) for d in found for p in d.pairs]
        packed = Reference().documents([plain(d.text) for d in found])
        packed_pairs = Reference().pairs(pairs, [], 64)
        cut = [p for p in pairs if sum(map(len, p)) > 62]
        expected |= {
            f"{split}/documents.tokens.npy": np.array(packed.tokens, np.uint16),
            f"{split}/documents.offsets.npy": np.array(packed.offsets, np.int64),
            f"{split}/pairs.tokens.npy": np.array(packed_pairs.tokens, np.uint16),
            f"{split}/pairs.offsets.npy": np.array(packed_pairs.offsets, np.int64),
            f"{split}/pairs.learned.npy": np.array(packed_pairs.learned, np.uint8),
        }
        assert counts[split] == {
            "documents": len(found),
            "bytes": sum(len(d.text.encode()) for d in found),
            "tokens": len(packed.tokens) - 1,
            "pairs": len(pairs),
            "response_tokens": sum(packed_pairs.learned),
            "cut_prompts": len(cut),
            "cut_responses": sum(len(response) > 62 for _, response in cut),
            "dropped_pairs": 0,
        }
    assert files == {name: tmp_path / "encoded" / name for name in expected}
    for name, array in expected.items():
        np.save(tmp_path / "expected.npy", array, allow_pickle=False)
        assert files[name].read_bytes() == (tmp_path / "expected.npy").read_bytes(), name


def test_a_split_without_documents_has_no_files(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "one.jsonl").write_text(json.dumps({"text": "x = 1"}) + "\n")
    (shard,) = shards.find(str(tmp_path / "one.jsonl"), "jsonl")
    files, counts = encoding.encode(shard, shard.tag, LanguagePreprocessing(), folder, tmp_path / "encoded")
    (split,) = {name.split("/")[0] for name in files}
    assert sorted(files) == [f"{split}/documents.offsets.npy", f"{split}/documents.tokens.npy"]
    assert [counts[other]["tokens"] for other in counts if other != split] == [0, 0]


@pytest.mark.parametrize("pieces", [[], [0], [1], [9, 1, 90], [100_000, 23]])
def test_an_array_that_grew_is_the_file_of_the_whole(tmp_path: Path, pieces: list[int]) -> None:
    arrays = [np.arange(size, dtype=np.int64) for size in pieces]
    grown = ArrayFile(tmp_path / "grown.npy", np.dtype(np.int64))
    for array in arrays:
        grown.append(array)
    grown.close()
    np.save(tmp_path / "whole.npy", np.concatenate([np.zeros(0, np.int64), *arrays]))
    assert (tmp_path / "grown.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()
