"""Splits never move, packing loses nothing, pairs hold what they say."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from modelmill.corpus.packing import Frame, pack_documents, pack_pairs, token_type
from modelmill.corpus.split import split_of
from modelmill.corpus.text.pairs import python_docstrings
from modelmill.recipe.sections import Preparation
from modelmill.tasks.tabular_classification.table import fit_scaler, moments_of

END, SEPARATOR = 0, [1]
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


@given(st.lists(st.tuples(ids, ids.filter(bool)), min_size=1, max_size=10), st.integers(8, 48))
def test_a_pair_never_crosses_a_window_and_only_its_response_is_learned(
    pairs: list[tuple[list[int], list[int]]], length: int
) -> None:
    packed = pack_pairs(pairs, END, Frame([END], SEPARATOR, [END], END), length, np.dtype(np.uint16))
    assert packed.learned is not None and len(packed.learned) == len(packed.tokens)
    found = []
    for start, end in zip(packed.offsets[:-1].tolist(), packed.offsets[1:].tolist(), strict=True):
        response = packed.tokens[start + 1 : end][packed.learned[start + 1 : end] == 1].tolist()
        if end - start == 1:
            continue
        assert start // length == (end - 1) // length, "the pair crosses a window"
        assert packed.learned[end] == 1, "the end of the response is to be learned"
        found.append(response)
    assert found == [response[: length // 2] for _, response in pairs]


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
