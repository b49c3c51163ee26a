"""Causal attention for a CPU: the queries in pieces, each with the keys up to its end.

Half of the scores of causal attention are not wanted. In pieces most of these are never computed, and what a piece
needs stays in a CPU's cache. Compiled, this takes half the time of PyTorch's own kernel for CPUs.
"""

from typing import Any

import torch
from torch import nn

from modelmill.models import document_attention, torch_attention

NAME = "modelmill_pieces"
# The longest sequence: more weights would be too many to keep for the backward pass; PyTorch's kernel recomputes them.
LONGEST = 1024


def implementation(device: torch.device) -> str:
    """Return the name of the attention that suits a device, after registering ours with `transformers`."""
    if device.type != "cpu" and torch.cuda.get_device_capability(device) < document_attention.OLDEST:
        return "sdpa"
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    name, ours = (NAME, attend) if device.type == "cpu" else (document_attention.NAME, document_attention.attend)
    AttentionInterface.register(name, ours)
    AttentionMaskInterface.register(name, sdpa_mask)
    return name


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

    Args:
        module: The layer that calls.
        query: (batch, heads, length, width).
        key: (batch, key heads, length, width).
        value: (batch, key heads, length, width).
        attention_mask: bool, (batch, 1, length, length), lower triangular; None for all of the lower triangle.
        scaling: Factor of the scores; None for the root of the width's inverse.
        dropout: Share of the weights that are dropped.
        **others: What `transformers` passes beside these.

    Returns:
        (batch, length, heads, width), and no weights.
    """
    batch, heads, length, width = query.shape
    is_causal = key.shape[2] == length > 1 and getattr(module, "is_causal", True)
    if torch_attention.is_only() or length > LONGEST or not is_causal:
        return torch_attention.attend(module, query, key, value, attention_mask, scaling, dropout, **others)
    scale = width**-0.5 if scaling is None else scaling
    key, value = (_for_each_head(t, heads).reshape(batch * heads, length, -1) for t in (key, value))
    query = query.reshape(batch * heads, length, width)
    if attention_mask is None:
        attention_mask = torch.ones(length, length, dtype=torch.bool, device=query.device).tril()[None, None]
    size = min(128, max(64, length // 4))
    outputs = []
    for first in range(0, length, size):
        end = min(first + size, length)
        piece = query[:, first:end], key[:, :end], value[:, :end], attention_mask[:, :, first:end, :end]
        outputs.append(_Piece.apply(*piece, scale, dropout))
    return torch.cat(outputs, 1).unflatten(0, (batch, heads)).transpose(1, 2), None


class _Piece(torch.autograd.Function):
    """The attention of some queries.

    The weights are kept before they are divided by their sum. The division is by row, so it is done to the products'
    results, which are smaller, as in FlashAttention (Dao et al., 2022, https://arxiv.org/abs/2205.14135), and the
    backward pass needs no exponential.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor,
        scale: float,
        dropout: float,
    ) -> torch.Tensor:
        scores = torch.bmm(query, key.transpose(1, 2)).float().unflatten(0, (len(mask), -1))
        scores = scores.masked_fill_(~mask, -torch.inf)
        weights = scores.sub_(scores.amax(-1, keepdim=True)).mul_(scale).exp_().to(value.dtype).flatten(0, 1)
        total = weights.sum(-1, keepdim=True, dtype=torch.float32)
        kept = nn.functional.dropout(torch.ones_like(weights), dropout) if dropout else None
        used = weights if kept is None else weights * kept
        output = (torch.bmm(used, value) / total).to(value.dtype)
        ctx.save_for_backward(query, key, value, weights, total, kept, output)
        ctx.scale = scale
        return output

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> Any:
        query, key, value, weights, total, kept, output = ctx.saved_tensors
        grad = upstream[0]
        used = weights if kept is None else weights * kept
        grad_value = torch.bmm(used.transpose(1, 2), (grad / total).to(value.dtype))
        grad_weights = torch.bmm(grad, value.transpose(1, 2)).float()
        if kept is not None:
            grad_weights *= kept
        grad_weights -= (grad.float() * output).sum(-1, keepdim=True)
        grad_scores = grad_weights.mul_(weights).mul_(ctx.scale / total).to(query.dtype)
        return torch.bmm(grad_scores, key), torch.bmm(grad_scores.transpose(1, 2), query), grad_value, None, None, None


def _for_each_head(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """Return keys or values of grouped-query attention, repeated for each head."""
    return tensor.repeat_interleave(heads // tensor.shape[1], 1) if tensor.shape[1] != heads else tensor
