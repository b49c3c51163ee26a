"""Learning rates, and what the optimizers do to the weights."""

import pytest
import torch

from modelmill.recipe import Training
from modelmill.training.loop.optimization import learning_rate, make_optimizers


def test_the_rate_warms_up_and_ends_at_a_tenth() -> None:
    settings = Training(steps=100, learning_rate=1.0, warmup=0.1, schedule="cosine")
    rates = [learning_rate(step, settings) for step in range(100)]
    assert rates[:10] == pytest.approx([n / 10 for n in range(1, 11)])
    assert rates[10] == 1.0
    assert rates == rates[:10] + sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0.1, abs=0.001)


def test_wsd_is_constant_and_then_falls_straight_to_its_floor() -> None:
    settings = Training(steps=100, learning_rate=1.0, warmup=0.1, schedule="wsd", decay=0.4, floor=0.2)
    rates = [learning_rate(step, settings) for step in range(100)]
    assert rates[10:60] == [1.0] * 50
    assert rates[60:] == pytest.approx([1 - 0.8 * n / 40 for n in range(40)])


def test_vectors_do_not_decay() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))
    decays = {
        id(p): group["weight_decay"]
        for group in make_optimizers(model, [], Training(steps=1, learning_rate=0.1, weight_decay=0.5))[0].param_groups
        for p in group["params"]
    }
    assert [decays[id(p)] for p in model.parameters()] == [0.5, 0.0, 0.0, 0.0]
