"""Attention within documents is attention under a mask of pairs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modelmill.models import document_attention, torch_attention
from modelmill.models.cross_entropy import IGNORED
from modelmill.tasks.language_modeling.packed_windows import boundaries_of
from modelmill.training.device.determinism import seed_everything
from tests.packed import language_task

DOCUMENTS = [[1, 2, 3], [4], list(range(5, 24)), [24, 25]]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


def test_boundaries_are_where_documents_and_windows_begin_and_have_few_lengths(tmp_path: Path) -> None:
    task = language_task(tmp_path, DOCUMENTS, length=8)
    batch = task.examples("pretraining", "train").batch(np.arange(3))
    assert batch["boundaries"].tolist() == [0, 4, 6, 8, 16, 24, *[24] * 6]
    assert batch["boundaries"].dtype == torch.int32
    last = task.examples("pretraining", "train").batch(np.array([3]))
    assert last["position_ids"].tolist() == [[0, 1, 0, 1, 2, 0, 0, 0]]
    assert last["boundaries"].tolist() == [0, 2, 5, 6, 8, *[8] * 11], "the padding from 6 on is one document"


def test_very_many_documents_have_noboundaries_of() -> None:
    """Each length is compiled by itself, and there must not be more of them than the compiler keeps."""
    alone, whole = torch.zeros(2, 128, dtype=torch.int64), torch.tensor([128, 128])
    lengths = set()
    for documents in range(1, 129):
        positions = alone.clone()
        positions[:, documents:] = 1
        boundaries = boundaries_of(positions, whole)
        assert (boundaries is None) == (2 * documents >= 128)
        lengths.add(None if boundaries is None else len(boundaries))
    assert len(lengths) <= 4


def test_boundaries_stand_for_the_mask_of_pairs(tmp_path: Path) -> None:
    """On any device: where the kernel cannot be had, they become the mask."""
    task = language_task(tmp_path, DOCUMENTS, length=8)
    seed_everything(0)
    model = task.build()
    batch = task.examples("pretraining", "train").batch(np.arange(4))
    counts = batch["labels"] != IGNORED
    expected = task.hidden(model, batch)[counts]
    document_attention_of(model)
    assert torch.allclose(task.hidden(model, batch)[counts], expected, atol=1e-6)
    del batch["boundaries"]
    assert torch.allclose(task.hidden(model, batch)[counts], expected, atol=1e-6)


@needs_gpu
@pytest.mark.parametrize("width", [64, 128])
@pytest.mark.parametrize("key_heads", [2, 4])
def test_the_kernel_gives_outputs_and_gradients_of_the_mask_and_the_same_bits_twice(width: int, key_heads: int) -> None:
    seed_everything(0)
    batch, length = 3, 384
    query = torch.randn(batch, 4, length, width, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    key, value = (torch.randn_like(query[:, :key_heads], requires_grad=True) for _ in range(2))
    boundaries = torch.tensor([0, 5, 200, 384, 768, 769, 1152, 1152], dtype=torch.int32, device="cuda")
    module: Any = torch.nn.Identity()
    module.num_key_value_groups = 4 // key_heads
    upstream = torch.randn(batch, length, 4, width, device="cuda", dtype=torch.bfloat16)

    def attended(*inputs: torch.Tensor) -> list[torch.Tensor]:
        output, _ = document_attention.attend(module, *inputs, boundaries.view(1, 1, 1, -1))
        return [output, *torch.autograd.grad(output, inputs, upstream.to(output.dtype))]

    found, again = attended(query, key, value), attended(query, key, value)
    whole = [tensor.detach().float().requires_grad_() for tensor in (query, key, value)]
    for mine, once_more, exact in zip(found, again, attended(*whole), strict=True):
        assert torch.equal(mine, once_more)
        assert (mine.float() - exact).norm() < 1e-2 * exact.norm()


@needs_gpu
def test_a_model_on_a_gpu_takes_the_kernel_unless_torch_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = language_task(tmp_path, DOCUMENTS, length=8)
    seed_everything(0)
    model: Any = task.build()
    assert model.config._attn_implementation == document_attention.NAME
    model.cuda()
    batch = {n: t.cuda() for n, t in task.examples("pretraining", "train").batch(np.arange(3)).items()}
    with torch.autocast("cuda", torch.bfloat16):
        with torch_attention.as_one():
            expected = task.hidden(model, batch)
        monkeypatch.delattr(torch_attention, "attend")
        found = task.hidden(model, batch)
    assert (found - expected).norm() < 1e-2 * expected.norm()


def document_attention_of(model: Any) -> None:
    from transformers import AttentionInterface

    AttentionInterface.register(document_attention.NAME, document_attention.attend)
    model.config._attn_implementation = document_attention.NAME
