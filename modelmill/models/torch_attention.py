"""PyTorch's own attention, which ours falls back on; and when it is to be the only one."""

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
    """As `transformers` calls it with `sdpa`."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    return sdpa_attention_forward(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **others)


@contextlib.contextmanager
def as_one() -> Iterator[None]:
    """A block in which attention is PyTorch's own over all pairs, whose FLOPs are counted as everybody counts them."""
    global _only
    _only = True
    try:
        yield
    finally:
        _only = False


def is_only() -> bool:
    return _only
