"""How long a training waits for its batches, and that threads which make them leave their order alone."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modelmill.core import limits
from modelmill.recipe import Training
from modelmill.store import Store
from modelmill.tasks.contract import Batch
from modelmill.training.device import cost
from modelmill.training.device.world import World
from modelmill.training.loop import feeding
from modelmill.training.loop.checkpoint import Checkpoints
from modelmill.training.loop.feeding import Feeder
from modelmill.training.loop.order import BatchOrder
from tests.unit.test_training import Line, fit

CPU = torch.device("cpu")
PAUSE = 0.02


class SlowToRead(Line):
    """Batches take longer to make than to learn from."""

    def batch(self, indices: np.ndarray) -> Batch:
        time.sleep(PAUSE)
        return super().batch(indices)


class SlowToLearn(Line):
    """Batches take longer to learn from than to make."""

    def loss(self, model: torch.nn.Module, batch: Batch, smoothing: float = 0.0) -> torch.Tensor:
        time.sleep(PAUSE)
        return super().loss(model, batch, smoothing)


def test_the_share_of_waiting_is_that_of_the_steps_and_not_of_the_learning(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost.hardware, "matmul_ceiling", lambda *_: 1.0)
    settings = Training(steps=12, batch_size=4, learning_rate=0.1, evaluate_every=100)
    shares = []
    for name, task in {"read": SlowToRead(), "learn": SlowToLearn()}.items():
        _, result = fit(task, settings, Checkpoints(store, name, tmp_path / name))
        used = cost.Used(1.0, result.step_seconds, result.terms, 1.0, 1.0, 1, input_seconds=result.input_seconds)
        shares.append(cost.metrics(used, "samples", CPU, torch.float32)["input_wait_share"])
    reading, learning = shares
    assert 0 <= learning < reading <= 1


class Uneven(Line):
    """Batches that take more or less time to make, so that threads overtake each other."""

    def batch(self, indices: np.ndarray) -> Batch:
        time.sleep(0.002 * (int(indices.sum()) % 3))
        return super().batch(indices)


def test_several_threads_make_the_same_batches_in_the_same_order(monkeypatch: pytest.MonkeyPatch) -> None:
    def fed(cores: int, first: int = 0) -> list[Any]:
        monkeypatch.setattr(limits, "cores", lambda: cores)
        task: Any = Uneven(points=50)
        with Feeder(task, task, BatchOrder(50, 6, 1), 4, CPU, World()) as feeder:
            made = [feeder.batch(position) for position in range(first, 20)]
            threads = len(feeder._pool._threads)
        assert threads == (feeding.MOST_THREADS if cores > 1 else 1)
        return [[part["x"].tolist() for part in one.parts] for one in made]

    alone = fed(1)
    assert fed(64) == alone and fed(64, first=7) == alone[7:], "a resumed run reads on in the same order"
    expected = [(BatchOrder(50, 6, 1).indices(position) / np.float32(50)).tolist() for position in range(20)]
    assert [[x for part in one for [x] in part] for one in alone] == pytest.approx(np.array(expected))
