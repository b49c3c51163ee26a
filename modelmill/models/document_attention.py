"""Causal attention within documents for a GPU: FlashAttention (Dao, 2023, https://arxiv.org/abs/2307.08691) over a
batch's documents end to end, which computes nothing between one and another.

Of a mask of all pairs, PyTorch's fast kernels know nothing. The boundaries of the documents travel in its place.
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
    """What `transformers` calls an attention with.

    Args:
        query: (batch, heads, length, width). key, value: (batch, key heads, length, width).
        attention_mask: int32, (1, 1, 1, documents + 1): where each document of the flat batch begins, and its end; or
            a mask of pairs, or None for all of the lower triangle.
    Returns:
        (batch, length, heads, width), and no weights.
    """
    batch, _, length, width = query.shape
    if attention_mask is None or attention_mask.dtype != torch.int32:
        return torch_attention.attend(module, query, key, value, attention_mask, scaling, dropout, **others)
    boundaries = attention_mask.flatten()
    # Under autocast the turned queries and keys are fp32, values are not.
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
    """The same as a mask of pairs: bool, (batch, 1, length, length)."""
    places = torch.arange(batch * length, device=boundaries.device, dtype=boundaries.dtype)
    document = torch.searchsorted(boundaries, places, right=True).view(batch, 1, length)
    return (document[..., :, None] == document[..., None, :]).tril()
