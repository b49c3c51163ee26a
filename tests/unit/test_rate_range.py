"""The learning-rate range test: what is read off a curve, and when a sweep ends."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from modelmill.recipe import Training
from modelmill.training.device.determinism import seed_everything
from modelmill.training.loop.rate_range import Row, read_off, smooth, spread, sweep
from tests.unit.test_training import Line

RATES = spread(1e-6, 1.0, 100)


def curve(fall: float, rise: float) -> list[Row]:
    """A loss that falls from 6 to 2, fastest at one rate, and soars at another."""
    losses = [6 - 4 / (1 + (fall / rate) ** 2) + (rate / rise) ** 3 for rate in RATES]
    return [Row(rate, loss, loss) for rate, loss in zip(RATES, losses, strict=True)]


def noisy(losses: np.ndarray, deviation: float) -> list[Row]:
    drawn = (losses + np.random.default_rng(0).normal(0, deviation, len(losses))).tolist()
    return [Row(*row) for row in zip(RATES, drawn, smooth(drawn, 0.8), strict=True)]


def is_near(rate: float | None, wanted: float) -> bool:
    """Within two of the steps."""
    return rate is not None and abs(math.log(rate / wanted)) <= 2.01 * math.log(RATES[1] / RATES[0])


def test_the_suggestion_is_where_the_loss_falls_fastest() -> None:
    found = read_off(curve(fall=1e-3, rise=1.0))
    assert is_near(found.steepest, 1e-3) and found.suggestion == found.steepest


def test_the_suggestion_keeps_away_from_where_the_loss_begins_to_rise() -> None:
    found = read_off(curve(fall=1e-3, rise=0.02))
    assert found.steepest is not None and found.lowest < 10 * found.steepest
    assert found.suggestion == pytest.approx(found.lowest / 10)


def test_noise_moves_the_suggestion_little() -> None:
    losses = np.array([row.loss for row in curve(fall=1e-3, rise=1.0)])
    found = read_off(noisy(losses, 0.2))
    assert found.steepest is not None and 3e-4 < found.steepest < 3e-3


@pytest.mark.parametrize("slope", [0.0, 0.01])
def test_a_loss_that_does_not_fall_suggests_nothing(slope: float) -> None:
    found = read_off(noisy(3 + slope * np.arange(100), 0.2))
    assert found.suggestion is None and found.steepest is None


def test_a_single_row_suggests_nothing() -> None:
    assert read_off([Row(1e-6, 3.0, 3.0)]).suggestion is None


def test_smoothing_does_not_lag() -> None:
    losses = [3.0] * 50 + [1.0] * 50
    middle = smooth(losses, 0.8)[49:51]
    assert sum(middle) / 2 == pytest.approx(2.0, abs=1e-3)


def tried(task: Line, **settings: Any) -> list[Row]:
    seed_everything(0)
    model = torch.nn.Linear(1, 1, bias=False)
    asked = Training(**{"steps": 5, "learning_rate": 0.1, "batch_size": 4, "optimizer": "sgd", **settings})
    return sweep(model, task, task, asked, 0, spread(1e-3, 1e3, 60), lambda *_: None)  # type: ignore[arg-type]


def test_a_sweep_ends_when_the_loss_is_many_times_its_lowest() -> None:
    rows = tried(Line(), clip_norm=None)
    assert 20 < len(rows) < 60
    assert rows[-1].loss > 4 * min(row.loss for row in rows)
    assert [row.rate for row in rows] == spread(1e-3, 1e3, 60)[: len(rows)]


def test_a_sweep_ends_before_a_loss_that_is_no_number() -> None:
    rows = tried(Line(bad=[5]), batch_size=1)
    assert len(rows) < 8 and all(math.isfinite(row.loss) for row in rows)


def test_what_a_sweep_measures_does_not_depend_on_schedule_warm_up_or_rate() -> None:
    assert tried(Line()) == tried(Line(), learning_rate=5.0, warmup=0.5, schedule="cosine", ema=0.9)
    assert tried(Line()) != tried(Line(), optimizer="adamw")
