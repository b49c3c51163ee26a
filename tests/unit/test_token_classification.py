"""What token_classification computes: valid tags, the tokens that stand for words, the entities that count as found."""

import itertools
import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from seqeval.metrics import classification_report
from seqeval.scheme import IOB2, Entities
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from modelmill.core.errors import UserError
from modelmill.corpus import row_notes, streaming
from modelmill.measures import found as measures
from modelmill.tasks.token_classification import bio, demo, preprocess, rows, splitting, windows
from modelmill.tasks.token_classification.baseline import WordTags
from modelmill.tasks.token_classification.bio import Entity
from modelmill.tasks.token_classification.recipe import TaggingPreprocessing
from tests.prepared import Prepared, found

NAMES = bio.classes(["place", "person"])


def random_tags(random: np.random.Generator, length: int) -> list[str]:
    """A valid sequence of tags."""
    tags: list[str] = []
    for _ in range(length):
        before = tags[-1] if tags else bio.OUTSIDE
        tags.append(str(random.choice([tag for tag in NAMES if bio.may_follow(before, tag)])))
    return tags


def test_classes_are_outside_then_each_kinds_beginning_and_inside() -> None:
    assert NAMES == ["O", "B-person", "I-person", "B-place", "I-place"]


@pytest.mark.parametrize(
    ("scheme", "tags", "expected"),
    [
        ("bio", ["B-a", "I-a", "B-a", "O"], ["B-a", "I-a", "B-a", "O"]),
        ("iob1", ["I-a", "I-a", "B-a", "O", "I-b", "I-a"], ["B-a", "I-a", "B-a", "O", "B-b", "B-a"]),
        ("bioes", ["B-a", "I-a", "E-a", "S-b", "O"], ["B-a", "I-a", "I-a", "B-b", "O"]),
    ],
)
def test_other_schemes_say_the_same_in_other_letters(scheme: str, tags: list[str], expected: list[str]) -> None:
    assert bio.converted(tags, scheme) == expected


@pytest.mark.parametrize(
    ("scheme", "tags", "said"),
    [
        ("bio", ["O", "I-a"], "tag 2 is 'I-a', and 'O' is before it"),
        ("bio", ["I-a"], "tag 1 is 'I-a', and nothing is before it"),
        ("bio", ["B-a", "I-b"], "tag 2 is 'I-b', and 'B-a' is before it"),
        ("bio", ["S-a"], "tag 1 is 'S-a', which is no tag of bio"),
        ("bio", ["NOUN"], "'NOUN', which is no tag of bio"),
        ("bio", ["B-"], "'B-', which is no tag"),
        ("bioes", ["E-a"], "tag 1 is 'E-a', and nothing is before it"),
    ],
)
def test_a_tag_that_may_not_be_there_is_named(scheme: str, tags: list[str], said: str) -> None:
    with pytest.raises(bio.WrongTag) as refused:
        bio.converted(tags, scheme)
    assert said in str(refused.value)


def test_decoding_takes_the_most_probable_of_all_valid_sequences() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        scores = np.log(random.dirichlet(np.ones(5), size=4))
        every = [
            path
            for path in np.ndindex(5, 5, 5, 5)
            if all(bio.may_follow(NAMES[a], NAMES[b]) for a, b in zip((0, *path), path, strict=False))
        ]
        best = max(every, key=lambda path: sum(scores[n, tag] for n, tag in enumerate(path)))
        assert tuple(bio.decode(scores, NAMES)) == best
    assert bio.decode(np.zeros((0, 5)), NAMES) == []


def test_entities_and_their_rates_are_those_of_seqeval() -> None:
    random = np.random.default_rng(1)
    truth, mine = ([random_tags(random, length) for length in range(1, 40)] for _ in range(2))
    theirs = Entities(truth, IOB2).entities
    ours = [bio.entities(tags) for tags in truth]
    assert [[(one.tag, one.start, one.end) for one in its] for its in theirs] == ours
    sets = [[{(e.kind, (e.first, e.end)) for e in bio.entities(tags)} for tags in some] for some in (truth, mine)]
    counts = measures.counted(sets[0], sets[1], ["person", "place"])
    report = classification_report(truth, mine, mode="strict", scheme=IOB2, output_dict=True, zero_division=0)
    for row in measures.by_class(counts, ["person", "place"]):
        its = report["micro avg" if row["class"] == "all" else row["class"]]
        expected = [its["precision"], its["recall"], its["f1-score"], its["support"]]
        assert [row["precision"], row["recall"], row["f1"], row["true"]] == pytest.approx(expected)
        assert row["between"][0] <= row["f1"] <= row["between"][1]


def test_intervals_of_a_difference_are_those_of_drawing_texts_in_pairs() -> None:
    random = np.random.default_rng(2)
    true = random.integers(0, 4, 300)
    good, bad = (np.stack([(true * share).round(), true, true], axis=1).astype(np.int64) for share in (0.9, 0.5))
    low, high = measures.f1_better_by(good, bad)
    draws = random.integers(0, 300, (2000, 300))
    naive = np.quantile([measures.f1_of(good[d].sum(0)) - measures.f1_of(bad[d].sum(0)) for d in draws], [0.025, 0.975])
    assert [low, high] == pytest.approx(naive.tolist(), abs=0.01) and low > 0
    assert measures.f1_better_by(good, good) == (0.0, 0.0)


def wordpieces() -> Tokenizer:
    """A tokenizer like BERT's."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz.,'", *(f"##{c}" for c in "abcdefgh")]
    tokenizer = Tokenizer(models.WordPiece({piece: n for n, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def bytes_with_spaces() -> Tokenizer:
    """A tokenizer like RoBERTa's, in which a space belongs to the word after it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = ["<s>", "</s>", *alphabet, "Ġa", "bc"]
    merges = [("Ġ", "a"), ("b", "c")]
    tokenizer = Tokenizer(models.BPE({name: n for n, name in enumerate(names)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0), add_prefix_space=False)
    return tokenizer


@pytest.mark.parametrize("make", [wordpieces, bytes_with_spaces])
def test_a_word_is_where_its_first_token_is(make: Any) -> None:
    tokenizer = make()
    (window,) = windows.windows(tokenizer, ["abc", "a", "cab", "."], 64)
    assert window.ids == tokenizer.encode("abc a cab .").ids and window.first == 0
    shown = [tokenizer.id_to_token(window.ids[place]) for place in window.places]
    assert shown == (["a", "a", "c", "."] if make is wordpieces else ["a", "Ġa", "Ġ", "Ġ"])
    assert window.places == sorted(window.places)


@pytest.mark.parametrize("make", [wordpieces, bytes_with_spaces])
@pytest.mark.parametrize("most", [4, 7, 10])
def test_a_long_text_is_split_between_words_and_loses_none(make: Any, most: int) -> None:
    tokenizer = make()
    words = ["abc", "a", "d", "abcdefgh", "e", "f"] * 4
    made = windows.windows(tokenizer, words, most)
    assert [window.first for window in made] == np.cumsum([0, *(len(w.places) for w in made)])[:-1].tolist()
    assert sum(len(window.places) for window in made) == len(words)
    added = tokenizer.encode("").ids
    for window in made:
        assert len(window.ids) <= most
        assert [window.ids[0], window.ids[-1]] == added and min(window.places) == 1
        assert max(window.places) < len(window.ids) - 1
        its = words[window.first : window.first + len(window.places)]
        if len(its) > 1:
            assert window.ids == tokenizer.encode(" ".join(its)).ids
    # As many words as fit: with the next word a window would be too long.
    for window, after in itertools.pairwise(made):
        assert len(tokenizer.encode(" ".join(words[window.first : after.first + 1])).ids) > most


def test_a_word_without_a_token_has_no_place_and_is_outside() -> None:
    (window,) = windows.windows(wordpieces(), ["a", "\u200b", "b"], 64)
    assert window.places == [1, -1, 2]
    scores = np.log(np.random.default_rng(0).dirichlet(np.ones(5), size=4))
    of_words = bio.of_words(scores, np.array(window.places), NAMES)
    assert np.array_equal(of_words[[0, 2]], scores[[1, 2]]) and of_words[1].argmax() == 0


def test_words_of_a_text_are_found_with_their_places() -> None:
    text = "The U.S. isn't 'well-known', is x_1 = 3.5 at 1,000 (AT&T)?"
    words = splitting.split(text, "punctuation")
    assert [one.text for one in words] == [
        *("The", "U.S", ".", "isn't", "'", "well-known", "'", ",", "is", "x_1", "=", "3.5", "at", "1,000", "(", "AT&T"),
        *(")", "?"),
    ]
    assert all(text[one.start : one.end] == one.text for one in words)
    assert [one.text for one in splitting.split(text, "spaces")] == text.split()


def read(folder: Path, table: dict[str, list[Any]], **settings: Any) -> list[rows.Tagged]:
    """The rows of a file."""
    folder.mkdir(exist_ok=True)
    file = folder / "texts.parquet"
    pq.write_table(pa.table(table), file)
    taken = TaggingPreprocessing(**settings)
    step = Prepared(folder, "token_classification", taken).step()
    columns = {"preprocessing.tokens": taken.tokens, "preprocessing.tags": taken.tags}
    validated = found(file)
    noted = row_notes.note(step, validated, columns, (), partial(preprocess.look, settings=taken))
    its = [one for piece in streaming.pieces(*validated[0], noted.shards[0]) for one in rows.tagged(piece, taken)]
    assert noted.notes["words"].tolist() == [len(one.words) for one in its]
    return its


def test_rows_have_words_and_tags(tmp_path: Path) -> None:
    table = {"tokens": [["Oslo", "is"], [], ["a"]], "tags": [[1, 0], [], [0]]}
    assert read(tmp_path / "numbers", table, tag_names=["O", "B-place"]) == [
        (["Oslo", "is"], ["B-place", "O"]),
        ([], []),
        (["a"], ["O"]),
    ]
    text = {"tokens": ['["Oslo", "is"]'], "tags": ['["B-place", "O"]']}
    assert read(tmp_path / "json", text) == [(["Oslo", "is"], ["B-place", "O"])]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (
            {"tokens": [["a"]], "labels": [["O"]]},
            r"preprocessing.tags: texts.parquet has no column 'tags'; .*tokens, l",
        ),
        ({"tokens": [["a"], None], "tags": [["O"], ["O"]]}, r"tokens: texts.parquet row 2: column 'tokens' is null"),
        ({"tokens": [["a", "b"]], "tags": [["O"]]}, r"row 1: 2 words in 'tokens' and 1 tags in 'tags'"),
        ({"tokens": [["a"]], "tags": [["I-x"]]}, r"preprocessing.scheme: texts.parquet row 1: tag 1 is 'I-x', and"),
        ({"tokens": ["a b"], "tags": [["O"]]}, r"tokens: texts.parquet row 1: column 'tokens' has 'a b', which is no"),
        ({"tokens": [["a"]], "tags": [[3]]}, r"tag_names: texts.parquet row 1: column 'tags' has tags that are numbe"),
    ],
)
def test_rows_that_are_wrong_are_one_line(tmp_path: Path, table: dict[str, list[Any]], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read(tmp_path, table)


def test_a_number_without_a_name_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has the tag 3, which tag_names has not"):
        read(tmp_path, {"tokens": [["a"]], "tags": [[3]]}, tag_names=["O", "B-a"])


def test_kinds_are_those_of_training_or_those_that_are_listed() -> None:
    def counts(**kinds: int) -> dict[str, Counter[str]]:
        return {"train": Counter(a=2, b=1), "validation": Counter(a=1), "test": Counter(a=1, **kinds)}

    assert preprocess.kinds_of(counts(), TaggingPreprocessing()) == ["a", "b"]
    assert preprocess.kinds_of(counts(c=1), TaggingPreprocessing(entities=["a"])) == ["a"]
    with pytest.raises(UserError, match=r"kind 'c' are in the test split and not in the training rows"):
        preprocess.kinds_of(counts(c=1), TaggingPreprocessing())
    with pytest.raises(UserError, match=r"no training row has an entity of the kind 'd'; those that there are: a, b"):
        preprocess.kinds_of(counts(), TaggingPreprocessing(entities=["d"]))
    with pytest.raises(UserError, match=r"preprocessing.validation: no entity is in the validation split"):
        preprocess.kinds_of(counts(), TaggingPreprocessing(entities=["b"]))


def test_the_baseline_is_what_words_tell_alone() -> None:
    words = [["in", "Oslo"], ["in", "Oslo", "Oslo"], ["Bern"]]
    tags = [np.array(one) for one in ([0, 3], [0, 3, 0], [1])]
    known = WordTags(words, tags, NAMES)
    assert known.tag(["in", "Oslo", "Bern", "never", "Oslo"]) == [0, 3, 1, 0, 3]
    assert known.loss(np.array([0, 0])) == pytest.approx(-np.log(4 / 11))


def test_markup_becomes_tags_and_is_gone() -> None:
    sentence = "Compute ``x`` along `axis`, see :func:`numpy.sum` and :class:`~svm.SVC`, or give 'a' as ``x + 1``."
    tagged = demo.tagged(sentence, {"axis", "x"})
    assert tagged is not None and "`" not in " ".join(tagged.tokens)
    assert [(e.kind, tagged.tokens[e.first : e.end]) for e in bio.entities(tagged.tags)] == [
        ("parameter", ["x"]),
        ("parameter", ["axis"]),
        ("code", ["numpy.sum"]),
        ("code", ["SVC"]),
        ("code", ["x", "+", "1"]),
    ]
    assert demo.tagged("If it is ``None`` then nothing is done.", set()).tags.count("B-value") == 1  # type: ignore[union-attr]
    assert demo.tagged("There is no markup in this sentence here.", set()) is None
    assert demo.tagged("The `x`-axis of this is part of a word.", {"x"}) is None
    assert demo.tagged("See the :ref:`user guide <guide>` and also `x` in it.", {"x"}).tokens[2] == "user"  # type: ignore[union-attr]


def test_docstrings_are_taken_apart_into_sentences_with_the_names_of_parameters() -> None:
    source = """
class A:
    '''Make `a` of it.

    Parameters
    ----------
    a : int
        The number. It is `b`.
    '''

    def __init__(self, a, *, b=1): pass

    def f(self, c):
        '''Do it with `c`.'''
"""
    (first, names), (second, others) = demo.documented(source)
    assert (names, others) == ({"a", "b"}, {"c"})
    assert list(demo.sentences(first)) == ["Make `a` of it.", "The number.", "It is `b`."]
    assert list(demo.sentences(second)) == ["Do it with `c`."]


def test_the_demo_has_each_sentence_once(monkeypatch: pytest.MonkeyPatch) -> None:
    source = (
        'def f(axis):\n    """Return the sum along `axis` of it.\n\n    Return the sum along `axis` of it.\n    """\n'
    )
    monkeypatch.setattr(demo, "_sources", lambda: {"a.py": source, "b.py": source})
    (data,) = demo.token_classification(2).values()
    assert json.loads(data) == {
        "tokens": ["Return", "the", "sum", "along", "axis", "of", "it", "."],
        "tags": ["O", "O", "O", "O", "B-parameter", "O", "O", "O"],
        "path": "a.py",
    }


def test_entities_end_where_another_begins() -> None:
    tags = ["B-a", "I-a", "B-a", "O", "B-b", "B-a"]
    assert bio.entities(tags) == [Entity("a", 0, 2), Entity("a", 2, 3), Entity("b", 4, 5), Entity("a", 5, 6)]
    assert bio.without_other(tags, ["b"]) == ["O", "O", "O", "O", "B-b", "O"]
