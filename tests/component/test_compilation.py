"""Training that is compiled, or recomputes its blocks: it learns the same."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from modelmill.recipe import Training
from modelmill.store import Store
from modelmill.training.device import memory
from modelmill.training.device.determinism import seed_everything
from modelmill.training.loop import journal
from modelmill.training.loop.checkpoint import Checkpoints
from modelmill.training.loop.engine import train
from tests.packed import language_task

NEEDS_COMPILER = pytest.mark.skipif(shutil.which("g++") is None, reason="compiling needs a C++ compiler")


@pytest.fixture(autouse=True)
def look_after_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a test sees each step as progress."""
    monkeypatch.setattr(journal, "LOOK_SECONDS", 0)


@NEEDS_COMPILER
def test_a_compiled_training_learns_the_same_and_cut_in_two_ends_with_the_same_bits(
    tmp_path: Path, store: Store
) -> None:
    documents = [list(range(1, 60)), list(range(1, 30)) * 3] * 20

    def trained(key: str, compiled: str, stop_after: int | None = None) -> tuple[dict[str, torch.Tensor], list[float]]:
        torch.compiler.reset()  # as in a process of its own
        task = language_task(tmp_path, documents, length=32)
        examples = task.examples("pretraining", "train")
        seed_everything(0)
        model, losses = task.build(), []
        settings = Training(
            steps=12, learning_rate=0.01, batch_size=8, micro_batch_size=4, compile=compiled, precision="fp32",
            checkpoint_seconds=0,
        )  # fmt: skip

        def progress(done: float, _: float, text: str) -> None:
            losses.append(float(text.split()[1].rstrip(",")) if text.startswith("loss") else 0.0)
            if done == stop_after:
                raise KeyboardInterrupt

        train(model, task, examples, examples, settings, 0, Checkpoints(store, key, tmp_path), progress)
        return dict(model.named_parameters()), losses

    _, written = trained("written", "off")
    whole, losses = trained("whole", "on")
    assert losses == pytest.approx(written, abs=0.02)
    assert losses[-1] < losses[0] - 1
    with pytest.raises(KeyboardInterrupt):
        trained("cut", "on", stop_after=7)
    cut, _ = trained("cut", "on")
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


@pytest.mark.parametrize("compiled", ["off", pytest.param("on", marks=NEEDS_COMPILER)])
def test_blocks_that_are_recomputed_learn_the_same_and_keep_less(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, compiled: str
) -> None:
    kept: list[int] = []
    measured = memory.micro_batch_size

    def noted(settings: Training, size: int, bytes_each: int, *others: Any) -> int:
        kept.append(bytes_each)
        return measured(settings, size, bytes_each, *others)

    monkeypatch.setattr(memory, "micro_batch_size", noted)
    task = language_task(tmp_path, [list(range(1, 60))] * 20, length=32)
    examples, weights = task.examples("pretraining", "train"), []
    for recomputed in (False, True):
        seed_everything(0)
        torch.compiler.reset()
        settings = Training(
            steps=5, learning_rate=0.01, batch_size=4, precision="fp32", compile=compiled,
            activation_checkpointing=recomputed,
        )  # fmt: skip
        model = task.build()
        train(model, task, examples, examples, settings, 0, Checkpoints(store, str(recomputed), tmp_path), _nothing)
        weights.append([p.detach().clone() for p in model.parameters()])
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*weights, strict=True))
    assert kept[1] < 0.7 * kept[0]


def _nothing(*_: object) -> None:
    """Nobody watches."""
