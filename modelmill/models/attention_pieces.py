"""Causal attention in pieces: some queries at a time, each piece with the keys that one of its queries sees."""

from typing import Any

import torch
from torch import nn

from modelmill.models.attention_arguments import Arguments, band, for_each_head, wide

# The longest sequence whose weights are kept for the backward pass; those of longer ones are computed again.
LONGEST = 1024


def suits(query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None, terms: Arguments) -> bool:
    """Tell whether a call can be computed in pieces: causal, without a cache, with a bool mask for all heads.

    Args:
        query: (batch, heads, length, width).
        key: (batch, key heads, keys, width).
        mask: Mask of any kind, or None.
        terms: What changes the scores.
    """
    plain = mask is None or (mask.dtype == torch.bool and mask.shape[1] == 1)
    return plain and terms.is_causal and terms.bias is None and key.shape[2] == query.shape[2] > 1


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float,
    dropout: float,
    terms: Arguments,
) -> torch.Tensor:
    """Return the attention's output, (batch, length, heads, width).

    Args:
        query: (batch, heads, length, width).
        key: (batch, key heads, length, width).
        value: (batch, key heads, length, width).
        mask: bool, (batch, 1, length, length), lower triangular; None for all of the lower triangle.
        scale: Factor of the scores.
        dropout: Share of the weights that are dropped.
        terms: What changes the scores.
    """
    batch, heads, length, width = query.shape
    keeps = length <= LONGEST and terms.cap is None
    if not keeps:  # Under autocast, rotated queries and keys are fp32, and the backward pass would not round them.
        query, key = query.to(value.dtype), key.to(value.dtype)
    key, value = (for_each_head(t, heads).reshape(batch * heads, length, -1) for t in (key, value))
    query = query.reshape(batch * heads, length, width)
    if mask is None and terms.window is None:
        mask = band(0, length, 0, None, query.device)
    size = min(128, max(64, length // 4)) if length <= LONGEST else max(128, length // 16)
    outputs = []
    for first in range(0, length, size):
        end = min(first + size, length)
        start = 0 if terms.window is None else max(0, first - terms.window + 1)
        seen = None if mask is None else mask[:, :, first:end, start:end]
        if terms.window is not None:
            near = band(first, end, start, terms.window, query.device)
            seen = near if seen is None else seen & near
        piece = query[:, first:end], key[:, start:end], value[:, start:end], seen
        outputs.append(_Piece.apply(*piece, terms.sinks, scale, terms.cap, dropout, keeps))
    # Some architectures take a view of it.
    return torch.cat(outputs, 1).unflatten(0, (batch, heads)).transpose(1, 2).contiguous()


class _Piece(torch.autograd.Function):
    """The attention of some queries.

    The weights are kept before they are divided by their sum. The division is by row, so it is done to the products'
    results, which are smaller, as in FlashAttention (Dao et al., 2022, https://arxiv.org/abs/2205.14135), and the
    backward pass needs no exponential unless the weights are computed again.

    A sink is a key without a value: its weight is in the sum alone (Xiao et al., 2023, https://arxiv.org/abs/2309.17453).
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor,
        sinks: torch.Tensor | None,
        scale: float,
        cap: float | None,
        dropout: float,
        keeps: bool,
    ) -> torch.Tensor:
        scores, factor = _scores(query, key, scale, cap)
        weights, total, sunk = _weights(scores, mask, sinks, factor, value.dtype)
        kept = nn.functional.dropout(torch.ones_like(weights), dropout) if dropout else None
        used = weights if kept is None else weights * kept
        output = (torch.bmm(used, value) / total).to(value.dtype)
        ctx.save_for_backward(query, key, value, mask, sinks, weights if keeps else None, total, sunk, kept, output)
        ctx.scale, ctx.cap = scale, cap
        return output

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> Any:
        query, key, value, mask, sinks, weights, total, sunk, kept, output = ctx.saved_tensors
        grad, scores = upstream[0], None
        if weights is None:
            scores, factor = _scores(query, key, ctx.scale, ctx.cap)
            used = scores if ctx.cap is None else scores.clone()
            weights, total, sunk = _weights(used, mask, sinks, factor, value.dtype)
        used = weights if kept is None else weights * kept
        grad_value = torch.bmm(used.transpose(1, 2), (grad / total).to(value.dtype))
        grad_weights = wide(torch.bmm(grad, value.transpose(1, 2)))
        if kept is not None:
            grad_weights *= kept
        inner = (wide(grad) * output).sum(-1, keepdim=True)
        grad_weights -= inner
        grad_scores = grad_weights.mul_(weights).mul_(ctx.scale / total)
        if ctx.cap is not None and scores is not None:  # capped scores are always computed again
            grad_scores = grad_scores.mul_(1 - scores.square())
        grad_scores = grad_scores.to(query.dtype)
        grad_sinks = None
        if sinks is not None:
            by_head = -(inner * sunk / total).unflatten(0, (-1, len(sinks)))
            grad_sinks = by_head.sum((0, 2, 3)).to(sinks.dtype)
        grad_query, grad_key = torch.bmm(grad_scores, key), torch.bmm(grad_scores.transpose(1, 2), query)
        return grad_query, grad_key, grad_value, None, grad_sinks, None, None, None, None


def _scores(query: torch.Tensor, key: torch.Tensor, scale: float, cap: float | None) -> tuple[torch.Tensor, float]:
    """Return the scores before a factor, and the factor: the scale, or the cap of capped ones."""
    scores = wide(torch.bmm(query, key.transpose(1, 2)))
    return (scores, scale) if cap is None else (scores.mul_(scale / cap).tanh_(), cap)


def _weights(
    scores: torch.Tensor, mask: torch.Tensor, sinks: torch.Tensor | None, factor: float, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Return the weights, which overwrite the scores, their sum by row, and the sinks' part in it.

    A row of padding that sees nothing has no weights and the sum 1, which is the least sum of any other row, whose
    highest score has the weight 1.
    """
    # The exponential of minus infinity is several times faster on a CPU than that of the lowest number.
    scores = scores.unflatten(0, (len(mask), -1)).masked_fill_(~mask, -torch.inf)
    highest = scores.amax(-1, keepdim=True).clamp_(min=torch.finfo(scores.dtype).min)
    if sinks is not None:
        logits = sinks.to(scores.dtype).repeat(highest[..., 0, 0].numel() // len(sinks)) / factor
        logits = logits.view_as(highest[..., :1, :])
        highest = torch.maximum(highest, logits)
    weights = scores.sub_(highest).mul_(factor).exp_().to(dtype).flatten(0, 1)
    total = weights.sum(-1, keepdim=True, dtype=scores.dtype)
    sunk = None
    if sinks is not None:
        sunk = (logits - highest).mul_(factor).exp_().flatten(0, 1)
        total += sunk
    return weights, total.clamp_(min=1), sunk
