"""Causal attention within documents for a GPU: FlashAttention over a batch's documents end to end.

It computes nothing between one document and another (Dao, 2023, https://arxiv.org/abs/2307.08691). PyTorch's fast
kernels take no mask of pairs, so the boundaries of the documents travel in its place.
"""

from typing import Any

import torch
from torch import nn

from modelmill.models import torch_attention

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
    """
    batch, _, length, width = query.shape
    if attention_mask is None or attention_mask.dtype != torch.int32:
        return torch_attention.attend(module, query, key, value, attention_mask, scaling, dropout, **others)
    boundaries = attention_mask.flatten()
    # Under autocast, rotated queries and keys are fp32, values are not.
    low = value.dtype if value.dtype in LOW else query.dtype
    if torch_attention.is_only() or low not in LOW or width > WIDEST or width % DIVISOR:
        mask = pairs(boundaries, batch, length)
        return torch_attention.attend(module, query, key, value, mask, scaling, dropout, **others)
    query, key, value = (tensor.to(low).transpose(1, 2).flatten(0, 1) for tensor in (query, key, value))
    # No document is longer than the batch's windows.
    output = torch.ops.aten._flash_attention_forward(
        query, key, value, boundaries, boundaries, length, length, dropout, True, False, scale=scaling
    )[0]
    return output.unflatten(0, (batch, length)), None


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
