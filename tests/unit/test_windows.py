"""Windows of packed tokens: what is learned in them, what sees what, and their loss."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from modelmill.models import cross_entropy
from modelmill.tasks.language_modeling import packed_windows
from modelmill.training.device.determinism import seed_everything
from tests.packed import language_task


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
    first, second = (task.hidden(model, task.examples("pretraining", "train").batch(np.arange(1)))[0] for task in tasks)
    assert not torch.equal(first[:4], second[:4])
    assert torch.equal(first[5:], second[5:])


def test_positions_count_from_the_start_of_a_document_or_of_its_window(tmp_path: Path) -> None:
    task = language_task(tmp_path, [[1, 2, 3], list(range(4, 24))], length=8)
    positions = task.examples("pretraining", "train").batch(np.arange(3))["position_ids"]
    assert positions.tolist() == [[0, 1, 2, 3, 0, 1, 2, 3], list(range(8)), list(range(8))]


def test_a_mask_costs_nothing_where_it_changes_nothing(tmp_path: Path) -> None:
    task = language_task(tmp_path, [list(range(1, 33))], length=8)
    examples = task.examples("pretraining", "train")
    plain = examples.batch(np.arange(4))
    assert "position_ids" not in plain
    model = task.build().eval()
    masked = plain | {"position_ids": torch.arange(8).expand(4, 8)}
    assert torch.allclose(task.hidden(model, plain), task.hidden(model, masked), atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("at_once", [2**25, 64 * 3])
def test_the_loss_in_pieces_and_its_gradients_are_those_of_torch(
    monkeypatch: pytest.MonkeyPatch, at_once: int, smoothing: float
) -> None:
    monkeypatch.setattr(cross_entropy, "LOGITS_AT_ONCE", at_once)
    seed_everything(0)
    hidden, weight = torch.randn(10, 16, requires_grad=True), torch.randn(64, 16, requires_grad=True)
    labels = torch.randint(0, 64, (10,))
    labels[[2, 7]] = cross_entropy.IGNORED
    expected = F.cross_entropy(hidden @ weight.t(), labels, reduction="sum", label_smoothing=smoothing)
    found = cross_entropy.LinearCrossEntropy()(hidden, weight, labels, smoothing)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    for mine, theirs in zip(
        torch.autograd.grad(found / 8, (hidden, weight)),
        torch.autograd.grad(expected / 8, (hidden, weight)),
        strict=True,
    ):
        assert torch.allclose(mine, theirs, atol=1e-6)


@given(st.integers(0, 300_000), st.integers(1, 40_000))
def test_a_gpu_has_few_sizes_of_pieces_to_compile(rows: int, most: int) -> None:
    sizes = list(cross_entropy.sizes_on_gpu(rows, most))
    assert sum(sizes) == rows and max(sizes, default=0) <= max(most, 256)
    assert all(size in {256 * 4**power for power in range(5)} for size in sizes[:-1])


def test_a_loss_over_few_learned_tokens_is_that_over_all(tmp_path: Path) -> None:
    task = language_task(tmp_path, [list(range(1, 60)) * 10], length=64)
    batch = task.examples("pretraining", "train").batch(np.arange(9))
    batch["labels"][:, 8:] = cross_entropy.IGNORED
    few = packed_windows.few_places(batch["labels"].flatten())
    assert few is not None and len(few) == 256
    model = task.build()
    assert task.loss(model, batch | {"learned": few}).item() == pytest.approx(task.loss(model, batch).item(), rel=1e-6)
