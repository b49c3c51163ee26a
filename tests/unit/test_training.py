"""The engine's parts: order, schedule, window isolation, checkpoints, the gate."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from components.common.errors import TrainingDiverged
from components.common.manifest import Manifest
from components.common.recipe import Training
from components.common.recipe.language_modeling import DecoderModel
from components.common.store import Store, open_store
from components.evaluation.gate import judge
from components.preprocessing.packing import pack_documents
from components.training.checkpoint import Checkpoints, Snapshot
from components.training.device import seed_everything
from components.training.engine import train
from components.training.optimization import learning_rate, make_optimizer
from components.training.order import BatchOrder, evenly_spaced
from components.training.task import Batch
from components.training.tasks.language_modeling import LanguageModeling


@given(st.integers(1, 50), st.integers(1, 20), st.integers(0, 5))
def test_every_epoch_reads_every_example_once(examples: int, batch_size: int, seed: int) -> None:
    order = BatchOrder(examples, batch_size, seed)
    steps = math.lcm(examples, batch_size) // batch_size
    read = np.concatenate([order.indices(step) for step in range(steps)])
    for epoch in read.reshape(-1, examples):
        assert sorted(epoch.tolist()) == list(range(examples))


def test_the_order_of_a_step_does_not_depend_on_the_steps_before() -> None:
    first = BatchOrder(100, 7, seed=3)
    for step in range(40):
        first.indices(step)
    assert first.indices(40).tolist() == BatchOrder(100, 7, seed=3).indices(40).tolist()
    assert first.indices(40).tolist() != BatchOrder(100, 7, seed=4).indices(40).tolist()


@given(st.integers(1, 500), st.integers(1, 64), st.integers(1, 20))
def test_validation_covers_a_small_split_whole(examples: int, batch_size: int, batches: int) -> None:
    chosen = np.concatenate(evenly_spaced(examples, batch_size, batches))
    assert len(set(chosen.tolist())) == len(chosen) <= batch_size * batches
    if examples <= batch_size * batches:
        assert chosen.tolist() == list(range(examples))


def test_the_rate_warms_up_and_ends_at_a_tenth() -> None:
    settings = Training(steps=100, learning_rate=1.0, warmup=0.1, schedule="cosine")
    rates = [learning_rate(step, settings) for step in range(100)]
    assert rates[:10] == pytest.approx([n / 10 for n in range(1, 11)])
    assert rates[10] == 1.0
    assert rates == rates[:10] + sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0.1, abs=0.001)


def test_vectors_do_not_decay() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))
    decays = {
        id(p): group["weight_decay"]
        for group in make_optimizer(model, Training(steps=1, learning_rate=0.1, weight_decay=0.5)).param_groups
        for p in group["params"]
    }
    assert [decays[id(p)] for p in model.parameters()] == [0.5, 0.0, 0.0, 0.0]


def language_task(folder: Path, documents: list[list[int]], length: int) -> LanguageModeling:
    packed = pack_documents(documents, 0, np.dtype(np.uint16))
    files = {}
    for name, array in (("tokens", packed.tokens), ("offsets", packed.offsets)):
        files[f"train/00000.documents.{name}.npy"] = folder / f"{name}.npy"
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    info = {"sequence_length": length, "vocab_size": 64, "end_of_text": 0}
    settings = DecoderModel(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
    return LanguageModeling(Manifest(kind="corpus", info=info), files, settings)


def test_every_token_is_a_label_once_and_padding_never(tmp_path: Path) -> None:
    documents = [[5, 6, 7], [8], [9, 10, 11, 12, 13, 14]]
    task = language_task(tmp_path, documents, length=8)
    examples = task.examples("pretraining", "train")
    labels = examples.batch(np.arange(len(examples)))["labels"].flatten()
    assert labels[labels != -100].tolist() == [5, 6, 7, 0, 8, 0, 9, 10, 11, 12, 13, 14, 0]


def test_a_document_does_not_see_the_one_before_it(tmp_path: Path) -> None:
    seed_everything(0)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    tasks = [
        language_task(tmp_path / "a", [[5, 6, 7, 8], [9, 10, 11]], length=8),
        language_task(tmp_path / "b", [[50, 51, 52, 53], [9, 10, 11]], length=8),
    ]
    model = tasks[0].build().eval()
    first, second = (task.logits(model, task.examples("pretraining", "train").batch(np.arange(1)))[0] for task in tasks)
    assert not torch.equal(first[:4], second[:4])
    assert torch.equal(first[5:], second[5:])


def test_a_window_in_the_middle_of_a_document_starts_at_position_zero(tmp_path: Path) -> None:
    task = language_task(tmp_path, [list(range(1, 20))], length=8)
    positions = task.examples("pretraining", "train").batch(np.arange(2))["position_ids"]
    assert positions.tolist() == [list(range(8)), list(range(8))]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"file://{tmp_path}/store")


def snapshot(step: int) -> Snapshot:
    return Snapshot({"model.w": torch.full((3,), float(step))}, {"step": step})


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path, store: Store) -> None:
    checkpoints = Checkpoints(store, "key", tmp_path)
    for step in (1, 2, 3):
        checkpoints.save(snapshot(step))
    kept = [key for key in store.list("checkpoints/key/") if not key.endswith("latest.json")]
    assert len(kept) == 2, "only the newest two are kept"
    newest = max(kept, key=lambda key: store.local_path(key).stat().st_mtime_ns)  # type: ignore[union-attr]
    store.put(newest, b"damaged")
    loaded = checkpoints.load()
    assert loaded is not None and loaded.state == {"step": 2}
    store.delete(newest)
    loaded = checkpoints.load()
    assert loaded is not None and loaded.tensors["model.w"].tolist() == [2.0, 2.0, 2.0]


class Line:
    """The task of fitting y = w x; the loss turns to NaN after a number of batches."""

    mixed_precision = False

    def __init__(self, good: float = math.inf) -> None:
        self.good = good

    def __len__(self) -> int:
        return 8

    def batch(self, indices: np.ndarray) -> Batch:
        x = torch.from_numpy(indices).float().unsqueeze(1) / 8
        return {"x": x, "y": 3 * x}

    def loss(self, model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, int]:
        self.good -= 1
        error = ((model(batch["x"]) - batch["y"]) ** 2).sum()
        return error * (math.nan if self.good < 0 else 1), len(batch["x"])


def fit(task: Line, settings: Training, checkpoints: Checkpoints) -> torch.nn.Module:
    seed_everything(0)
    model = torch.nn.Linear(1, 1, bias=False)
    train(model, task, task, task, settings, 0, checkpoints, lambda *_: None)  # type: ignore[arg-type]
    return model


def test_a_loss_that_is_not_a_number_stops_and_keeps_the_last_checkpoint(tmp_path: Path, store: Store) -> None:
    settings = Training(steps=50, learning_rate=0.1, batch_size=4, checkpoint_seconds=0, evaluate_every=100)
    with pytest.raises(TrainingDiverged, match="after step 20; the checkpoint of step 20 is kept"):
        fit(Line(good=20), settings, Checkpoints(store, "key", tmp_path))
    kept = Checkpoints(store, "key", tmp_path).load()
    assert kept is not None and torch.isfinite(kept.tensors["model.weight"]).all()


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_training_cut_in_two_ends_with_the_same_bits(tmp_path: Path, store: Store, optimizer: str) -> None:
    settings = Training(
        steps=30, learning_rate=0.1, batch_size=3, optimizer=optimizer, momentum=0.9, checkpoint_seconds=0,
        evaluate_every=7,
    )  # fmt: skip
    whole = fit(Line(), settings, Checkpoints(store, "whole", tmp_path))
    with pytest.raises(TrainingDiverged):
        fit(Line(good=17), settings, Checkpoints(store, "cut", tmp_path))
    cut = fit(Line(), settings, Checkpoints(store, "cut", tmp_path))
    assert torch.equal(whole.weight, cut.weight)


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


def test_a_bounded_metric_that_was_not_measured_fails_the_gate() -> None:
    assert judge({"accuracy": 0.9}, {"accuracy": {"min": 0.8}})["passed"]
    assert not judge({"accuracy": 0.7}, {"accuracy": {"min": 0.8}})["passed"]
    assert not judge({"loss": 2.0}, {"loss": {"max": 1.0}})["passed"]
    assert not judge({}, {"accuracy": {"min": 0.8}})["passed"]
    assert judge({"accuracy": 0.1}, {})["passed"]
