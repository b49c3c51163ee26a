"""Windows of packed tokens: what is learned in them, what sees what, and their loss."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from modelmill.corpus import packing
from modelmill.models import cross_entropy
from modelmill.tasks.language_modeling import packed_windows
from modelmill.tasks.language_modeling.measuring.baselines import _documents
from modelmill.training.device.determinism import seed_everything
from tests.packed import language_task


def opened_task(folder: Path, documents: list[list[int]], opening: list[int], length: int) -> Any:
    """A task over documents that `opening` opens."""
    task = language_task(folder, documents, length)
    packed = packing.pack_documents(documents, 0, np.dtype(np.uint16), 0, opening)
    for name, array in packed._asdict().items():
        if array is None:
            continue
        task.files[f"train/00000.documents.{name}.npy"] = folder / f"{name}.npy"
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    return task


def test_every_token_is_a_label_once_and_padding_never(tmp_path: Path) -> None:
    documents = [[5, 6, 7], [8], [9, 10, 11, 12, 13, 14]]
    task = language_task(tmp_path, documents, length=8)
    examples = task.examples("pretraining", "train")
    labels = examples.batch(np.arange(len(examples)))["labels"].flatten()
    assert labels[labels != -100].tolist() == [5, 6, 7, 0, 8, 0, 9, 10, 11, 12, 13, 14, 0]


def test_what_opens_a_document_is_never_a_label(tmp_path: Path) -> None:
    documents = [[5, 6, 7], [], [9, 10, 11, 12, 13, 14]]
    task = opened_task(tmp_path, documents, [3], length=4)
    examples = task.examples("pretraining", "train")
    batch, owners = examples.batch(np.arange(len(examples))), examples.documents(np.arange(len(examples)))
    counted = batch["labels"] != -100
    assert batch["labels"][counted].tolist() == [5, 6, 7, 0, 0, 9, 10, 11, 12, 13, 14, 0]
    assert owners[counted.numpy()].tolist() == [0, 0, 0, 0, 1, 2, 2, 2, 2, 2, 2, 2]
    starts = batch["position_ids"].flatten()[(batch["input_ids"] == 3).flatten()]
    assert len(starts) >= 3 and not starts.any()


@pytest.mark.parametrize("most", [None, 8])
def test_n_grams_are_counted_in_what_is_predicted(tmp_path: Path, most: int | None) -> None:
    documents = [[5, 6, 7], [], [9, 10, 11, 12, 13, 14]]
    for folder in ("end", "bos"):
        (tmp_path / folder).mkdir()
    ends = language_task(tmp_path / "end", documents, length=8).examples("pretraining", "train")
    begun = opened_task(tmp_path / "bos", documents, [3, 4], length=8).examples("pretraining", "train")
    found = [_documents(examples.shards, most) for examples in (ends, begun)]
    assert [part.tolist() for part in found[0]] == [part.tolist() for part in found[1]]
    tokens, offsets = found[0]
    assert tokens.tolist() == [5, 6, 7, 0, 0, 9, 10, 11, 12, 13, 14, 0][:most]
    assert offsets.tolist() == [0, 4, 5, len(tokens)]


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
