"""Which examples make a batch."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmill.training.loop.order import BatchOrder, evenly_spaced


@given(st.integers(1, 50), st.integers(1, 20), st.integers(0, 5), st.booleans())
def test_every_epoch_reads_every_example_once(examples: int, batch_size: int, seed: int, by_length: bool) -> None:
    order = BatchOrder(examples, batch_size, seed, np.arange(examples) % 7 if by_length else None)
    steps = math.lcm(examples, batch_size) // batch_size
    read = np.concatenate([order.indices(step) for step in range(steps)])
    for epoch in read.reshape(-1, examples):
        assert sorted(epoch.tolist()) == list(range(examples))


@pytest.mark.parametrize("lengths", [None, np.arange(100) % 9])
def test_the_order_of_a_step_does_not_depend_on_the_steps_before(lengths: np.ndarray | None) -> None:
    first = BatchOrder(100, 7, 3, lengths)
    for step in range(40):
        first.indices(step)
    assert first.indices(40).tolist() == BatchOrder(100, 7, 3, lengths).indices(40).tolist()
    assert first.indices(40).tolist() != BatchOrder(100, 7, 4, lengths).indices(40).tolist()


def test_examples_of_like_length_share_a_batch_and_not_always_the_same_ones() -> None:
    """In every epoch, wherever its first batch begins; only those that two epochs share may be mixed."""
    lengths = np.random.default_rng(0).integers(1, 100, 1003)
    order = BatchOrder(1003, 8, 0, lengths)
    batches = [order.indices(step) for step in range(4 * 1003 // 8)]
    spread = [np.ptp(lengths[batch]) for batch in batches]
    mixed = [np.ptp(lengths[BatchOrder(1003, 8, 0).indices(step)]) for step in range(9)]
    assert np.median(spread) < 10 < 60 < np.median(mixed)
    assert sum(one > 40 for one in spread) <= 4
    assert abs(np.corrcoef(np.arange(500), [lengths[batch].mean() for batch in batches[:500]])[0, 1]) < 0.2
    assert len({tuple(sorted(batch.tolist())) for batch in batches}) == len(batches)


@given(st.integers(1, 500), st.integers(1, 64), st.integers(1, 20))
def test_validation_covers_a_small_split_whole(examples: int, batch_size: int, batches: int) -> None:
    chosen = np.concatenate(evenly_spaced(examples, batch_size, batches))
    assert len(set(chosen.tolist())) == len(chosen) <= batch_size * batches
    if examples <= batch_size * batches:
        assert chosen.tolist() == list(range(examples))
