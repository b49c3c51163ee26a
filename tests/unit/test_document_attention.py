"""Attention within documents is attention under a mask of pairs."""

from collections.abc import Iterator
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
@pytest.mark.parametrize("terms", [{}, {"sliding_window": 17}, {"softcap": 1.5}])
@pytest.mark.parametrize("has_sinks", [False, True])
@pytest.mark.parametrize("width", [64, 128])
@pytest.mark.parametrize("key_heads", [2, 4])
def test_the_kernel_gives_outputs_and_gradients_of_the_mask_and_the_same_bits_twice(
    width: int, key_heads: int, has_sinks: bool, terms: dict[str, Any]
) -> None:
    seed_everything(0)
    batch, length = 3, 384
    query = torch.randn(batch, 4, length, width, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    key, value = (torch.randn_like(query[:, :key_heads], requires_grad=True) for _ in range(2))
    sinks = [torch.randn(4, device="cuda", requires_grad=True)] if has_sinks else []
    boundaries = torch.tensor([0, 5, 200, 384, 768, 769, 1152, 1152], dtype=torch.int32, device="cuda")
    module: Any = torch.nn.Identity()
    module.num_key_value_groups = 4 // key_heads
    upstream = torch.randn(batch, length, 4, width, device="cuda", dtype=torch.bfloat16)

    def attended(*inputs: torch.Tensor) -> list[torch.Tensor]:
        more = terms | {"s_aux": inputs[3] if has_sinks else None}
        output, _ = document_attention.attend(module, *inputs[:3], boundaries.view(1, 1, 1, -1), **more)
        return [output, *torch.autograd.grad(output, inputs, upstream.to(output.dtype))]

    found, again = (attended(query, key, value, *sinks) for _ in range(2))
    whole = [tensor.detach().float().requires_grad_() for tensor in (query, key, value, *sinks)]
    for mine, once_more, exact in zip(found, again, attended(*whole), strict=True):
        assert torch.equal(mine, once_more)
        assert (mine.float() - exact).norm() < 1e-2 * exact.norm()


@pytest.fixture
def kernel_on_cpus() -> Iterator[list[int]]:
    """The kernel's mathematics registered for CPUs, which have no such kernel, and a list of its calls' windows."""
    windows: list[int] = []

    def scores(
        query: Any, key: Any, boundaries: Any, causal: bool, scale: float, left: int, right: int
    ) -> torch.Tensor:
        assert causal or (left >= 0 and right == 0)
        key = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
        seen = document_attention.pairs(boundaries, 1, len(query))[0]
        seen = seen if causal else seen.triu(-left)
        return torch.einsum("qhw,khw->hqk", query, key).float().mul(scale).masked_fill(~seen, -torch.inf)

    def forward(
        query: Any, key: Any, value: Any, begins: Any, _begins: Any, _long: int, _longest: int, dropout: float,
        causal: bool, _debug: bool, *, scale: float, window_size_left: int = -1, window_size_right: int = -1, **_: Any,
    ) -> tuple[torch.Tensor, ...]:  # fmt: skip
        assert dropout == 0
        windows.append(window_size_left)
        raw = scores(query, key, begins, causal, scale, window_size_left, window_size_right)
        value = value.repeat_interleave(query.shape[1] // value.shape[1], 1).float()
        output = torch.einsum("hqk,khw->qhw", raw.softmax(-1), value).to(query.dtype)
        none = torch.empty(0)
        return output, raw.logsumexp(-1), none, none, none

    def backward(
        grad: Any, query: Any, key: Any, value: Any, output: Any, sums: Any, begins: Any, _begins: Any, _long: int,
        _longest: int, _dropout: float, causal: bool, _state: Any, _unused: Any, *, scale: float,
        window_size_left: int = -1, window_size_right: int = -1,
    ) -> tuple[torch.Tensor, ...]:  # fmt: skip
        groups = query.shape[1] // key.shape[1]
        weights = (
            scores(query, key, begins, causal, scale, window_size_left, window_size_right) - sums[..., None]
        ).exp()
        many_keys, many_values = (tensor.float().repeat_interleave(groups, 1) for tensor in (key, value))
        grad, output = grad.float(), output.float()
        inner = (grad * output).sum(-1).T[..., None]
        grad_scores = weights * (torch.einsum("qhw,khw->hqk", grad, many_values) - inner) * scale
        grad_query = torch.einsum("hqk,khw->qhw", grad_scores, many_keys)
        grad_key = torch.einsum("hqk,qhw->khw", grad_scores, query.float()).unflatten(1, (-1, groups)).sum(2)
        grad_value = torch.einsum("hqk,qhw->khw", weights, grad).unflatten(1, (-1, groups)).sum(2)
        return tuple(tensor.to(query.dtype) for tensor in (grad_query, grad_key, grad_value))

    library = torch.library.Library("aten", "IMPL")
    library.impl("_flash_attention_forward", forward, "CPU")
    library.impl("_flash_attention_backward", backward, "CPU")
    yield windows
    library._destroy()


@pytest.mark.skipif(torch.cuda.is_available(), reason="the kernel itself is tested")
@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("has_sinks", [False, True])
def test_the_kernel_is_asked_for_windows_and_its_sums_take_sinks(
    kernel_on_cpus: list[int], window: int | None, has_sinks: bool
) -> None:
    """What is asked of the kernel, and what is made of its answer, without a GPU."""
    torch.manual_seed(0)
    query = torch.randn(2, 4, 12, 8, dtype=torch.bfloat16, requires_grad=True)
    key, value = (torch.randn(2, 2, 12, 8, dtype=torch.bfloat16, requires_grad=True) for _ in range(2))
    sinks = [torch.randn(4, requires_grad=True)] if has_sinks else []
    boundaries = torch.tensor([0, 5, 12, 23, 24, 24], dtype=torch.int32).view(1, 1, 1, -1)
    module: Any = torch.nn.Identity()
    module.num_key_value_groups = 2

    def attended(*inputs: torch.Tensor) -> list[torch.Tensor]:
        more = {"sliding_window": window, "s_aux": inputs[3] if has_sinks else None}
        output, _ = document_attention.attend(module, *inputs[:3], boundaries, scaling=0.5, **more)
        return [output, *torch.autograd.grad(output, inputs, torch.ones_like(output).cumsum(1))]

    ours = attended(query, key, value, *sinks)
    assert kernel_on_cpus == [-1 if window is None else window - 1]
    exact = attended(*(tensor.detach().float().requires_grad_() for tensor in (query, key, value, *sinks)))
    assert len(kernel_on_cpus) == 1, "fp32 takes another way"
    for mine, other in zip(ours, exact, strict=True):
        assert (mine.float() - other).norm() < 1e-2 * other.norm()


@pytest.mark.parametrize("terms", [{"softcap": 2.0}, {"softcap": 2.0, "sliding_window": 3}])
def test_capped_scores_take_another_way_than_the_kernel(terms: dict[str, Any]) -> None:
    query, key, value = (torch.randn(2, 2, 12, 8, dtype=torch.bfloat16) for _ in range(3))
    boundaries = torch.tensor([0, 5, 12, 24], dtype=torch.int32)
    pairs = document_attention.pairs(boundaries, 2, 12)
    output, _ = document_attention.attend(torch.nn.Identity(), query, key, value, boundaries.view(1, 1, 1, -1), **terms)
    exact, _ = torch_attention.attend(torch.nn.Identity(), *(t.float() for t in (query, key, value)), pairs, **terms)
    assert (output.float() - exact).norm() < 1e-2 * exact.norm()


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
