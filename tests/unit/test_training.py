"""Training: steps, bad batches, checkpoints, parts of a batch, what is kept of compiled code."""

import math
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from modelmill.core.errors import TrainingDiverged, UserError
from modelmill.recipe import Training
from modelmill.store import Store
from modelmill.tasks.contract import Batch
from modelmill.training.device import compilation, memory
from modelmill.training.device.determinism import seed_everything
from modelmill.training.loop import journal
from modelmill.training.loop.checkpoint import Checkpoints
from modelmill.training.loop.engine import Result, train
from modelmill.training.loop.order import BatchOrder


@pytest.fixture(autouse=True)
def look_after_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a test sees each step as progress."""
    monkeypatch.setattr(journal, "LOOK_SECONDS", 0)


class Line:
    """The task of fitting y = w x; batches that hold a bad point have a loss that is not a number, or a large one."""

    mixed_precision = False
    unit: Literal["tokens", "samples"] = "samples"
    lengths: np.ndarray | None = None

    def __init__(self, bad: Sequence[int] = (), factor: float = math.nan, points: int = 8) -> None:
        self.bad = bad
        self.factor = factor
        self.points = points

    def __len__(self) -> int:
        return self.points

    def batch(self, indices: np.ndarray) -> Batch:
        x = torch.from_numpy(indices).float().unsqueeze(1) / self.points
        factor = torch.tensor([self.factor if i in self.bad else 1.0 for i in indices.tolist()])
        return {"x": x, "y": 3 * x, "factor": factor.unsqueeze(1)}

    def describe(self, indices: np.ndarray) -> str:
        return f"points {indices.tolist()}"

    def blocks(self, model: torch.nn.Module) -> list[torch.nn.Module]:
        return []

    compilable = blocks

    def terms(self, batch: Batch) -> int:
        return len(batch["x"])

    def loss(self, model: torch.nn.Module, batch: Batch, smoothing: float = 0.0) -> torch.Tensor:
        error: torch.Tensor = (batch["factor"] * (model(batch["x"]) - batch["y"]) ** 2).sum()
        return error


def fit(
    task: Line, settings: Training, checkpoints: Checkpoints, stop_after: int | None = None
) -> tuple[torch.nn.Linear, Result]:
    """A trained line; `stop_after` ends the process of training, in the test's eyes, after so many steps."""
    seed_everything(0)
    model = torch.nn.Linear(1, 1, bias=False)

    def progress(done: float, *_: object) -> None:
        if done == stop_after:
            raise KeyboardInterrupt

    good = Line(points=task.points)
    return model, train(model, task, task, good, settings, 0, checkpoints, progress)  # type: ignore[arg-type]


OFTEN: dict[str, Any] = {"checkpoint_seconds": 0, "evaluate_every": 7}


def test_a_training_of_bad_batches_stops_names_the_samples_and_keeps_the_last_checkpoint(
    tmp_path: Path, store: Store
) -> None:
    settings = Training(steps=50, learning_rate=0.1, batch_size=4, bad_batches={"limit": 3}, **OFTEN)
    with pytest.raises(TrainingDiverged, match=r"nan in step \d+ after 3 skipped batches, on points \[.*5.*\]; the"):
        fit(Line(bad=[5]), settings, Checkpoints(store, "key", tmp_path))
    kept = Checkpoints(store, "key", tmp_path).load()
    assert kept is not None and torch.isfinite(kept.tensors["model.weight"]).all()


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_bad_batch_leaves_weights_and_optimizer_as_they_were(tmp_path: Path, store: Store, optimizer: str) -> None:
    """As many good batches, in the same order and at the same rate, end at the same weights."""
    settings = {"learning_rate": 0.05, "batch_size": 1, "optimizer": optimizer, "momentum": 0.5, "evaluate_every": 99}
    settings |= {"beta1": 0.7, "beta2": 0.8}
    order = BatchOrder(8, 1, 0)
    bad = int(order.indices(0)[0])
    _, with_bad = fit(Line(bad=[bad]), Training(steps=8, **settings), Checkpoints(store, "bad", tmp_path))
    assert with_bad.skipped == 1
    skipping, _ = fit(Line(bad=[bad]), Training(steps=8, **settings), Checkpoints(store, "bad", tmp_path))
    seed_everything(0)
    model = torch.nn.Linear(1, 1, bias=False)
    rule: Any = torch.optim.AdamW([model.weight], lr=0.05, betas=(0.7, 0.8), weight_decay=0.0)
    if optimizer == "sgd":
        rule = torch.optim.SGD([model.weight], lr=0.05, momentum=0.5)
    for step in range(1, 8):
        loss = Line().loss(model, Line().batch(order.indices(step)))
        loss.backward()
        torch.nn.utils.clip_grad_norm_([model.weight], 1.0)
        rule.step()
        rule.zero_grad()
    assert skipping.weight.item() == pytest.approx(model.weight.item(), rel=1e-6)


def test_a_spike_is_skipped_once_there_are_losses_to_measure_it_against(tmp_path: Path, store: Store) -> None:
    settings = {"steps": 300, "learning_rate": 1e-4, "batch_size": 1, "clip_norm": None, "evaluate_every": 300}
    task = Line(bad=BatchOrder(300, 1, 0).indices(200).tolist(), factor=1000.0, points=300)
    _, tolerant = fit(task, Training(**settings), Checkpoints(store, "a", tmp_path))
    _, strict = fit(task, Training(bad_batches={"deviations": 6.0}, **settings), Checkpoints(store, "b", tmp_path))
    assert (tolerant.skipped, strict.skipped) == (0, 1)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_training_cut_in_two_ends_with_the_same_bits(
    tmp_path: Path, store: Store, optimizer: str, ema: float | None
) -> None:
    settings = Training(
        steps=30, learning_rate=0.1, batch_size=3, optimizer=optimizer, momentum=0.9, ema=ema, **OFTEN
    )  # fmt: skip
    task = Line(bad=[5])
    whole, _ = fit(task, settings, Checkpoints(store, "whole", tmp_path))
    with pytest.raises(KeyboardInterrupt):
        fit(task, settings, Checkpoints(store, "cut", tmp_path), stop_after=17)
    cut, result = fit(task, settings, Checkpoints(store, "cut", tmp_path))
    assert result.resumed_from == 16 and result.skipped > 5
    assert torch.equal(whole.weight, cut.weight)


def test_compiling_without_a_compiler_is_refused_or_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    layers, cpu = [torch.nn.Linear(2, 2)], torch.device("cpu")
    asked, free = (Training(steps=1, learning_rate=1.0, compile=value) for value in ("on", "auto"))
    with pytest.raises(UserError, match="there is no no-such-compiler; install it or set CXX"):
        compilation.compile_modules(layers, asked, 0.0, cpu)
    assert not compilation.compile_modules(layers, free, 1e18, cpu)


def test_compiled_code_is_kept_unless_the_user_has_a_place_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    cache_dir()  # as an import of torch's compiler does, which chooses a temporary folder
    compilation.keep_kernels()
    assert cache_dir() == f"{tmp_path}/modelmill/kernels"
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", f"{tmp_path}/mine")
    compilation.keep_kernels()
    assert cache_dir() == f"{tmp_path}/mine"


def test_an_average_of_the_weights_is_what_is_kept(tmp_path: Path, store: Store) -> None:
    settings = {"steps": 4, "learning_rate": 0.1, "batch_size": 1, "optimizer": "sgd"}
    seen = []
    for steps in range(1, 5):
        model, _ = fit(Line(), Training(**settings | {"steps": steps}), Checkpoints(store, f"{steps}", tmp_path))
        seen.append(model.weight.item())
    seed_everything(0)
    expected = torch.nn.Linear(1, 1, bias=False).weight.item()
    for step, weight in enumerate(seen):
        expected += (1 - min(0.9, (1 + step) / (10 + step))) * (weight - expected)
    kept, _ = fit(Line(), Training(ema=0.9, evaluate_every=99, **settings), Checkpoints(store, "ema", tmp_path))
    assert kept.weight.item() == pytest.approx(expected, rel=1e-5)


def test_what_does_not_fit_after_all_names_a_size_to_try() -> None:
    with (
        pytest.raises(UserError, match="8 examples at once do not fit into memory; set micro_batch_size to 4"),
        memory.explained({"x": torch.zeros(8, 1)}),
    ):
        torch.empty(2**60, dtype=torch.uint8)


def test_no_steps_cost_nothing(tmp_path: Path, store: Store) -> None:
    """Weights that are only loaded are not tried on an example either."""
    model, result = fit(Line(bad=range(8)), Training(steps=0, learning_rate=1.0), Checkpoints(store, "key", tmp_path))
    assert (result.state.step, result.step_flops, result.terms) == (0, 0.0, 0)
    assert torch.isfinite(model.weight).all() and not list(store.list("checkpoints/"))


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_a_batch_in_parts_has_the_gradient_of_the_whole(tmp_path: Path, store: Store, size: int) -> None:
    settings = {"steps": 20, "learning_rate": 0.05, "batch_size": 5, "evaluate_every": 99}
    whole, _ = fit(Line(), Training(**settings), Checkpoints(store, "whole", tmp_path))
    parts, _ = fit(Line(), Training(micro_batch_size=size, **settings), Checkpoints(store, "parts", tmp_path))
    assert parts.weight.item() == pytest.approx(whole.weight.item(), rel=1e-5)


def test_a_micro_batch_that_does_not_fit_names_one_that_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda device, processes: 10 * 2**30)
    cpu = torch.device("cpu")
    auto, fixed = Training(steps=1, learning_rate=1.0), Training(steps=1, learning_rate=1.0, micro_batch_size=32)
    assert memory.micro_batch_size(auto, 32, 2**20, cpu) == 32
    assert memory.micro_batch_size(auto, 32, 2**30, cpu) == 7, "five parts, as equal as can be"
    with pytest.raises(UserError, match=r"32 examples at once need about 32.0 GiB .* to 7 or auto"):
        memory.micro_batch_size(fixed, 32, 2**30, cpu)
    with pytest.raises(UserError, match="use shorter examples or a smaller model"):
        memory.micro_batch_size(auto, 32, 8 * 2**30, cpu)


def test_batches_are_made_by_one_thread_and_the_training_keeps_all_of_its_own(tmp_path: Path, store: Store) -> None:
    used: dict[str, set[int]] = {}

    class Watched(Line):
        def batch(self, indices: np.ndarray) -> Batch:
            used.setdefault(threading.current_thread().name, set()).add(torch.get_num_threads())
            return super().batch(indices)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        fit(
            Watched(),
            Training(steps=3, batch_size=4, learning_rate=0.1, evaluate_every=1),
            Checkpoints(store, "k", tmp_path),
        )
    finally:
        torch.set_num_threads(before)
    assert used == {"MainThread": {2}, "feeder_0": {1}}


def test_a_recipe_groups_by_length(tmp_path: Path, store: Store) -> None:
    read: list[list[int]] = []

    class Long(Line):
        lengths = np.arange(64) % 2

        def batch(self, indices: np.ndarray) -> Batch:
            read.append((indices % 2).tolist())
            return super().batch(indices)

    settings = Training(steps=16, batch_size=4, learning_rate=0.1, evaluate_every=100, group_by_length=True)
    fit(Long(points=64), settings, Checkpoints(store, "k", tmp_path))
    of_four = [lengths for lengths in read if len(lengths) == 4]
    assert len(of_four) >= 16 and all(len(set(lengths)) == 1 for lengths in of_four)


def test_examples_of_one_length_are_not_grouped_by_it(tmp_path: Path, store: Store) -> None:
    settings = Training(steps=1, batch_size=4, learning_rate=0.1, group_by_length=True)
    with pytest.raises(UserError, match="group_by_length: all examples of this stage have one length"):
        fit(Line(), settings, Checkpoints(store, "k", tmp_path))


def test_training_stops_when_the_validation_loss_no_longer_improves(tmp_path: Path, store: Store) -> None:
    task = Line()
    model = torch.nn.Linear(1, 1, bias=False)
    settings = Training(
        steps=10_000, learning_rate=0.3, batch_size="all", optimizer="sgd", patience=3, evaluate_every=5
    )
    result = train(
        model,
        task,
        task,
        task,
        settings,
        0,
        Checkpoints(store, "key", tmp_path),
        lambda *_: None,  # type: ignore[arg-type]
    )
    assert result.stopped_early
    assert result.state.step < 10_000
    assert model.weight.item() == pytest.approx(3.0, abs=0.01)
