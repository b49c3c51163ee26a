"""Causal attention within documents for a GPU: FlashAttention over a batch's documents end to end.

It computes nothing between one document and another (Dao, 2023, https://arxiv.org/abs/2307.08691). PyTorch's fast
kernels take no mask of pairs, so the boundaries of the documents travel in its place.
"""

from typing import Any

import torch
from torch import nn

from modelmill.models import attention_arguments, attention_pieces, torch_attention
from modelmill.models.attention_arguments import Arguments

NAME = "modelmill_documents"
# The kernel's limits: the oldest GPUs by their compute capability, number formats, the widest heads and what divides
# their width.
OLDEST, LOW, WIDEST, DIVISOR = (8, 0), (torch.bfloat16, torch.float16), 256, 8


def attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Return the attention's output, as `transformers` calls for it.

    The kernel takes a window and sinks; capped scores are computed in pieces.

    Args:
        module: The layer that calls.
        query: (batch, heads, length, width).
        key: (batch, key heads, length, width).
        value: (batch, key heads, length, width).
        attention_mask: int32, (1, 1, 1, documents + 1): where each document of the flat batch begins, and the last
            one's end; or a mask of pairs, or None for all of the lower triangle.
        scaling: Factor of the scores; None for the root of the width's inverse.
        dropout: Share of the weights that are dropped.
        **others: What `transformers` passes beside these.

    Returns:
        (batch, length, heads, width), and no weights.

    Raises:
        UnsupportedAttention: The layer passes what is not computed.
    """
    batch, _, length, width = query.shape
    terms = attention_arguments.read(module, query, key, attention_mask, others)
    if attention_mask is not None and attention_mask.dtype == torch.int32:
        boundaries = attention_mask.flatten()
        # Under autocast, rotated queries and keys are fp32, values are not.
        low = value.dtype if value.dtype in LOW else query.dtype
        if low in LOW and _suits(query, value, terms):
            query, key, value = (tensor.to(low).transpose(1, 2).flatten(0, 1) for tensor in (query, key, value))
            output = _attend_flat(query, key, value, boundaries, length, scaling, dropout, terms)
            return output.unflatten(0, (batch, length)), None
        attention_mask = pairs(boundaries, batch, length)
    # PyTorch's kernels for masks know neither caps nor sinks, and all pairs at once may not fit.
    special = terms.cap is not None or terms.sinks is not None
    if special and not torch_attention.is_only() and attention_pieces.suits(query, key, attention_mask, terms):
        scale = width**-0.5 if scaling is None else scaling
        return attention_pieces.attend(query, key, value, attention_mask, scale, dropout, terms), None
    return torch_attention.attend(module, query, key, value, attention_mask, scaling, dropout, **others)


def pairs(boundaries: torch.Tensor, batch: int, length: int) -> torch.Tensor:
    """Return the boundaries as a mask of pairs: bool, (batch, 1, length, length).

    Args:
        boundaries: Where each document of the flat batch begins, and the last one's end, int32, (documents + 1,).
        batch: Number of windows.
        length: Length of a window.
    """
    places = torch.arange(batch * length, device=boundaries.device, dtype=boundaries.dtype)
    document = torch.searchsorted(boundaries, places, right=True).view(batch, 1, length)
    return (document[..., :, None] == document[..., None, :]).tril()


def _suits(query: torch.Tensor, value: torch.Tensor, terms: Arguments) -> bool:
    """Tell whether the kernel can be had for a call."""
    width = query.shape[-1]
    fits = width <= WIDEST and width % DIVISOR == 0 and value.shape[-1] == width
    plain = terms.cap is None and terms.bias is None and terms.is_causal
    return fits and plain and not torch_attention.is_only()


def _attend_flat(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    boundaries: torch.Tensor,
    longest: int,
    scaling: float | None,
    dropout: float,
    terms: Arguments,
) -> torch.Tensor:
    """Return the kernel's output, (batch * length, heads, width).

    Args:
        query: (batch * length, heads, width).
        key: (batch * length, key heads, width).
        value: (batch * length, key heads, width).
        boundaries: Where each document begins, and the last one's end, int32.
        longest: No document is longer: the length of the batch's windows.
        scaling: Factor of the scores; None for the root of the width's inverse.
        dropout: Share of the weights that are dropped.
        terms: What changes the scores.
    """
    if terms.sinks is not None:
        settings = (boundaries, longest, scaling, dropout, terms.window)
        output: torch.Tensor = _WithSinks.apply(query, key, value, terms.sinks, *settings)
        return output
    return _flash(query, key, value, boundaries, longest, scaling, dropout, terms.window)[0]


def _flash(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    boundaries: torch.Tensor,
    longest: int,
    scaling: float | None,
    dropout: float,
    window: int | None,
) -> Any:
    """Return what the kernel gives: the output, the scores' logarithms of sums, (heads, batch * length), and more."""
    settings = (boundaries, boundaries, longest, longest, dropout, window is None, False)
    return torch.ops.aten._flash_attention_forward(query, key, value, *settings, scale=scaling, **_sides(window))


def _sides(window: int | None) -> dict[str, int]:
    """Return how many keys before and after its own a query sees."""
    return {} if window is None else {"window_size_left": window - 1, "window_size_right": 0}


class _WithSinks(torch.autograd.Function):
    """The kernel's attention with a sink for each head.

    A sink adds to the sum of a row's weights and to nothing else. So the output is the kernel's times the share of the
    other keys, and the kernel's backward pass, which computes weights from the logarithm of that sum, is given the
    larger one.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        sinks: torch.Tensor,
        boundaries: torch.Tensor,
        longest: int,
        scaling: float | None,
        dropout: float,
        window: int | None,
    ) -> torch.Tensor:
        plain, sums, *state, _ = _flash(query, key, value, boundaries, longest, scaling, dropout, window)
        totals = torch.logaddexp(sums, sinks.float()[:, None])
        output = (plain * (sums - totals).exp().T[..., None]).to(plain.dtype)
        ctx.save_for_backward(query, key, value, sinks, boundaries, totals, output, *state)
        ctx.settings = longest, scaling, dropout, window
        return output

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> Any:
        query, key, value, sinks, boundaries, totals, output, *state = ctx.saved_tensors
        longest, scaling, dropout, window = ctx.settings
        settings = (boundaries, boundaries, longest, longest, dropout, window is None, *state)
        grads = torch.ops.aten._flash_attention_backward(
            upstream[0].contiguous(), query, key, value, output, totals, *settings, scale=scaling, **_sides(window)
        )
        inner = (upstream[0].float() * output).sum(-1).T
        grad_sinks = -((sinks.float()[:, None] - totals).exp() * inner).sum(1).to(sinks.dtype)
        return *grads, grad_sinks, None, None, None, None, None
