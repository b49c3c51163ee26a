"""PyTorch's own attention, which ours falls back on, and the switch that makes it the only one."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from modelmill.models import attention_arguments
from modelmill.models.attention_arguments import UnsupportedAttention, wide

NAME = "modelmill_torch"
_only = False


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
    """Return the output of PyTorch's own attention, as `transformers` calls it for `sdpa`.

    Unlike `sdpa` it applies a window to a mask without one, and computes caps and sinks.

    Args:
        module: The layer that calls.
        query: (batch, heads, length, width).
        key: (batch, key heads, length, width).
        value: (batch, key heads, length, width).
        attention_mask: bool, or added to the scores, (batch, 1 or heads, length, length); None for all of the lower
            triangle.
        scaling: Factor of the scores; None for the root of the width's inverse.
        dropout: Share of the weights that are dropped.
        **others: What `transformers` passes beside these.

    Returns:
        (batch, length, heads, width), and no weights.

    Raises:
        UnsupportedAttention: The layer passes what is not computed.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    terms = attention_arguments.read(module, query, key, attention_mask, others)
    if attention_mask is not None and attention_mask.dtype != torch.bool and not attention_mask.is_floating_point():
        raise UnsupportedAttention(f"{type(module).__name__} passes a mask of {attention_mask.dtype} to its attention")
    if terms.window is not None:
        attention_mask = _within(attention_mask, query.shape[2], terms.window, query.device)
    if terms.cap is not None or terms.sinks is not None:
        if attention_mask is None and terms.is_causal and query.shape[2] > 1:
            attention_mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device).tril()
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        return _exact(query, key, value, attention_mask, scale, dropout, terms.cap, terms.sinks), None
    more = {"is_causal": terms.is_causal, "position_bias": terms.bias}
    return sdpa_attention_forward(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **more)


def additive(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return a bool mask as what is added to scores, as `transformers` makes it for its eager attention.

    What is masked becomes the type's lowest number, not minus infinity, so that a row that sees nothing is not NaN.

    Args:
        mask: True where a key is seen.
        dtype: Type of the scores.
    """
    zero = torch.zeros((), dtype=dtype, device=mask.device)
    return torch.where(mask, zero, torch.finfo(dtype).min)


def _within(mask: torch.Tensor | None, length: int, window: int, device: torch.device) -> torch.Tensor:
    band = attention_arguments.band(0, length, 0, window, device)
    if mask is None:
        return band
    return mask & band if mask.dtype == torch.bool else mask.masked_fill(~band, torch.finfo(mask.dtype).min)


def _exact(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float,
    dropout: float,
    cap: float | None,
    sinks: torch.Tensor | None,
) -> torch.Tensor:
    """Return attention over all pairs in plain operations, (batch, length, heads, width)."""
    key, value = (attention_arguments.for_each_head(tensor, query.shape[1]) for tensor in (key, value))
    scores = wide(query @ key.transpose(-1, -2)) * scale
    if cap is not None:
        scores = torch.tanh(scores / cap) * cap
    if mask is not None:
        bool_mask = mask.dtype == torch.bool
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min) if bool_mask else scores + mask
    if sinks is not None:
        column = sinks.to(scores.dtype).view(1, -1, 1, 1).expand(*scores.shape[:-1], 1)
        scores = torch.cat([scores, column], -1)
    weights = torch.softmax(scores, -1)[..., : key.shape[2]].to(value.dtype)
    return (nn.functional.dropout(weights, dropout) @ value).transpose(1, 2).contiguous()


@contextlib.contextmanager
def as_one() -> Iterator[None]:
    """Enter a block in which attention is PyTorch's own over all pairs, whose FLOPs are counted in the usual way."""
    global _only
    _only = True
    try:
        yield
    finally:
        _only = False


def is_only() -> bool:
    """Tell whether PyTorch's own attention is the only one."""
    return _only
