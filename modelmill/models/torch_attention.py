"""PyTorch's own attention, which ours falls back on, and the switch that makes it the only one."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

_only = False


def attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None,
    dropout: float,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Return the output of PyTorch's own attention, as `transformers` calls it for `sdpa`.

    Args:
        module: The layer that calls.
        query: (batch, heads, length, width).
        key: (batch, key heads, length, width).
        value: (batch, key heads, length, width).
        attention_mask: bool, (batch, 1, length, length); None for all of the lower triangle.
        scaling: Factor of the scores; None for the root of the width's inverse.
        dropout: Share of the weights that are dropped.
        **others: What `transformers` passes beside these.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    return sdpa_attention_forward(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **others)


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
