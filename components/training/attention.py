"""Causal attention for a CPU: the queries in pieces, each against the keys that come before its end.

Half of the scores of causal attention are not wanted. In pieces most of these are never computed, and what a piece
needs stays in a CPU's cache. Compiled, this takes half the time of PyTorch's own kernel for CPUs.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

NAME = "modelmill_pieces"
# Longer sequences would keep too many weights for the backward pass, which PyTorch's kernel computes again.
LONGEST = 1024
_whole = False


def implementation(device: torch.device) -> str:
    """The name of the attention that suits a device, as `transformers` wants it; ours is made known to it."""
    if device.type != "cpu":
        return "sdpa"
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    return NAME


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
    """What `transformers` calls an attention with.

    Args:
        query: (batch, heads, length, width). key, value: (batch, key heads, length, width).
        attention_mask: bool, (batch, 1, length, length), lower triangular; None for all of the lower triangle.
    Returns:
        (batch, length, heads, width), and no weights.
    """
    batch, heads, length, width = query.shape
    is_causal = key.shape[2] == length > 1 and getattr(module, "is_causal", True)
    if _whole or length > LONGEST or not is_causal:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **others
        )
    scale = width**-0.5 if scaling is None else scaling
    key, value = (_for_each_head(t, heads).reshape(batch * heads, length, -1) for t in (key, value))
    query = query.reshape(batch * heads, length, width)
    places = torch.arange(length, device=query.device)
    size = min(128, max(64, length // 4))
    outputs = []
    for first in range(0, length, size):
        end = min(first + size, length)
        scores = torch.bmm(query[:, first:end], key[:, :end].transpose(1, 2)).unflatten(0, (batch, heads))
        mask = (
            places[first:end, None] >= places[:end] if attention_mask is None else attention_mask[:, :, first:end, :end]
        )
        weights = torch.softmax(torch.where(mask, scores.float() * scale, -torch.inf), -1).to(value.dtype)
        weights = nn.functional.dropout(weights, dropout, training=dropout > 0)
        outputs.append(torch.bmm(weights.flatten(0, 1), value[:, :end]))
    return torch.cat(outputs, 1).unflatten(0, (batch, heads)).transpose(1, 2), None


@contextlib.contextmanager
def as_one() -> Iterator[None]:
    """A block in which attention is PyTorch's own, whose FLOPs are counted as everybody counts them."""
    global _whole
    _whole = True
    try:
        yield
    finally:
        _whole = False


def _for_each_head(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """Keys or values of grouped-query attention, repeated."""
    return tensor.repeat_interleave(heads // tensor.shape[1], 1) if tensor.shape[1] != heads else tensor
