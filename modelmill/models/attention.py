"""Causal attention for a CPU: the queries in pieces, each with the keys up to its end.

Half of the scores of causal attention are not wanted, and of a window's more. In pieces most of these are never
computed, and what a piece needs stays in a CPU's cache. Compiled, this takes half the time of PyTorch's own kernel for
CPUs.
"""

from typing import Any

import torch
from torch import nn

from modelmill.models import attention_arguments, attention_pieces, document_attention, torch_attention
from modelmill.models.attention_arguments import UnsupportedAttention

__all__ = ["NAME", "UnsupportedAttention", "attend", "implementation"]
NAME = "modelmill_pieces"


def implementation(device: torch.device) -> str:
    """Return the name of the attention that suits a device, after registering ours with `transformers`."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    name, ours = document_attention.NAME, document_attention.attend
    if device.type == "cpu":
        name, ours = NAME, attend
    elif torch.cuda.get_device_capability(device) < document_attention.OLDEST:
        name, ours = torch_attention.NAME, torch_attention.attend
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
        attention_mask: bool, (batch, 1, length, length), lower triangular; None for all of the lower triangle. A
            window is applied beside it.
        scaling: Factor of the scores; None for the root of the width's inverse.
        dropout: Share of the weights that are dropped.
        **others: What `transformers` passes beside these.

    Returns:
        (batch, length, heads, width), and no weights.

    Raises:
        UnsupportedAttention: The layer passes what is not computed.
    """
    terms = attention_arguments.read(module, query, key, attention_mask, others)
    # PyTorch's kernel for plain attention keeps no weights, either, and is faster than computing ours again.
    plain = terms.window is None and terms.cap is None and terms.sinks is None
    too_long = plain and query.shape[2] > attention_pieces.LONGEST
    if torch_attention.is_only() or too_long or not attention_pieces.suits(query, key, attention_mask, terms):
        return torch_attention.attend(module, query, key, value, attention_mask, scaling, dropout, **others)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return attention_pieces.attend(query, key, value, attention_mask, scale, dropout, terms), None
