"""Splits never move, packing loses nothing, pairs hold what they say."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from modelmill.corpus.packing import PairStream, Segment, pack_documents, room, token_type
from modelmill.corpus.split import split_of
from modelmill.corpus.text.pairs import python_docstrings
from modelmill.recipe.sections import Preparation
from modelmill.tasks.tabular_classification.table import fit_scaler, moments_of

END = 0
ids = st.lists(st.integers(2, 300), max_size=40)


@given(st.text(min_size=1))
def test_widening_the_test_split_takes_records_from_training_only(identity: str) -> None:
    narrow = split_of(identity, Preparation(validation=0.1, test=0.1))
    wide = split_of(identity, Preparation(validation=0.1, test=0.3))
    assert wide == narrow or (narrow, wide) == ("train", "test")


def test_splits_have_the_sizes_asked_for() -> None:
    drawn = [split_of(f"file-{n}.py", Preparation(validation=0.1, test=0.2)) for n in range(5000)]
    assert drawn.count("validation") == pytest.approx(500, abs=100)
    assert drawn.count("test") == pytest.approx(1000, abs=150)


@given(st.lists(ids, min_size=1, max_size=10))
def test_packed_documents_come_back_whole(documents: list[list[int]]) -> None:
    packed = pack_documents(documents, END, token_type(4096))
    back = [packed.tokens[a + 1 : b].tolist() for a, b in zip(packed.offsets[:-1], packed.offsets[1:], strict=True)]
    assert back == documents
    assert (packed.tokens[packed.offsets] == END).all()


@given(st.lists(ids, min_size=1, max_size=10), st.integers(1, 2))
def test_documents_that_bos_opens_come_back_whole_and_bos_is_never_learned(documents: list[list[int]], n: int) -> None:
    opening = [302, 303][:n]
    packed = pack_documents(documents, END, token_type(4096), 0, opening)
    assert packed.learned is not None
    spans = list(zip(packed.offsets[:-1], packed.offsets[1:], strict=True))
    assert [packed.tokens[a:b].tolist() for a, b in spans] == [[*opening, *d, END] for d in documents]
    assert [packed.learned[a:b].tolist() for a, b in spans] == [[0] * n + [1] * (len(d) + 1) for d in documents]
    assert packed.learned[-1] == 0 and packed.offsets[-1] == len(packed.tokens) - 1


@given(st.data(), st.integers(8, 48), st.booleans(), st.booleans())
def test_an_example_never_crosses_a_window_and_comes_back_whole(
    data: st.DataObject, length: int, opens: bool, closes: bool
) -> None:
    around = opens + closes
    sizes = st.integers(0, room(length, opens and closes) - around - 1)
    examples = []
    for size in data.draw(st.lists(sizes, min_size=1, max_size=12)):
        given_size = data.draw(st.integers(0, size))
        is_cut = data.draw(st.booleans())
        end = [END] if closes else []
        given_ids = [END] * opens + [2] * given_size
        learned = [3] * (size - given_size + 1) + ([] if is_cut else end)
        examples.append([Segment(given_ids), Segment(learned, 1.0), Segment(end if is_cut else [])])
    stream = PairStream(END, length, np.dtype(np.uint16))
    tokens, offsets, learned_marks = [], [], []
    for batch in (examples[: len(examples) // 2], examples[len(examples) // 2 :]):
        packed = stream.pack(batch)
        assert packed.learned is not None
        tokens, offsets = [*tokens[:-1], *packed.tokens.tolist()], [*offsets[:-1], *packed.offsets.tolist()]
        learned_marks = [*learned_marks[:-1], *packed.learned.tolist()]
    shared = opens and closes  # the END of an example is then the first token after it
    back = []
    for begin, end in itertools.pairwise(offsets):
        if end - begin == 1 and tokens[begin] == END:
            continue
        assert begin % length + end - begin - 1 + shared <= length, "a label of the pair is in the next window"
        ids, marks = tokens[begin : end + shared], learned_marks[begin : end + shared]
        back.append([(token, bool(mark)) for token, mark in zip(ids, marks, strict=True)][opens:])
    assert back == [
        [(t, False) for t in given_ids[opens:]] + [(t, True) for t in learned] + [(t, False) for t in rest]
        for given_ids, learned, rest in ([segment.ids for segment in example] for example in examples)
    ]


def test_docstring_pairs_leave_the_docstring_out_of_the_prompt() -> None:
    source = (
        "class A:\n    @property\n    def area(self):\n        '''The area in square metres.'''\n"
        "        return self.width ** 2\n\n"
        "def bare():\n    return 1\n\n"
        "def only_documented():\n    '''Nothing but words here.'''\n\n"
        'async def fetch(url):\n    """Fetch a page.\n\n    Twice.\n    """\n    return url\n'
    )
    assert [tuple(pair) for pair in python_docstrings(source)] == [
        ("def area(self):\n    return self.width ** 2\n", "The area in square metres."),
        ("async def fetch(url):\n    return url\n", "Fetch a page.\n\nTwice."),
    ]


@given(st.text())
def test_any_text_gives_pairs_or_none_but_no_error(text: str) -> None:
    assert all(pair.prompt and pair.response for pair in python_docstrings(text))


def test_the_scaler_leaves_a_constant_column_alone() -> None:
    mean, scale = fit_scaler([moments_of(np.array([[1.0, 0.1], [3.0, 0.1], [2.0, 0.1]]))])
    assert mean.tolist() == pytest.approx([2.0, 0.1])
    assert scale.tolist() == pytest.approx([(2 / 3) ** 0.5, 1.0])


@given(st.lists(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1, 1)), max_size=9), min_size=1, max_size=5))
def test_the_scaler_of_parts_is_that_of_the_whole(parts: list[list[tuple[float, float]]]) -> None:
    whole = np.array([row for part in parts for row in part]).reshape(-1, 2)
    assume(len(whole))
    mean, scale = fit_scaler([moments_of(np.array(part).reshape(-1, 2)) for part in parts])
    assert mean == pytest.approx(whole.mean(axis=0), rel=1e-9, abs=1e-9)
    for ours, spread in zip(scale, whole.std(axis=0), strict=True):
        assert ours == pytest.approx(spread, rel=1e-6, abs=1e-6) or spread < 1e-6
