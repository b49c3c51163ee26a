"""What `transformers` passes to an attention function beside queries, keys, values and a mask.

The eager functions of its architectures ignore some of it, as their masks hold the window; ours are given masks of
documents, which do not. What is neither computed nor known to change nothing is refused.
"""

from typing import Any, NamedTuple

import torch
from torch import nn

from modelmill.core.errors import ModelmillError

# What changes nothing in a layer's attention: positions are in queries and keys already, the rest is for other layers.
HARMLESS = frozenset(
    {
        "cache_position",
        "num_items_in_batch",
        "output_attentions",
        "output_hidden_states",
        "output_router_logits",
        "position_ids",
        "return_dict",
        "use_cache",
    }
)
# Boundaries of documents for kernels of other libraries: nothing is lost if a mask holds them, too.
BOUNDARIES = frozenset({"cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k", "seq_idx"})


class UnsupportedAttention(ModelmillError):
    """A layer asks its attention for what Modelmill's kernels do not compute."""

    kind = "unsupported"


class Arguments(NamedTuple):
    """What changes the scores or the softmax of a layer.

    Attributes:
        window: Number of keys that a token sees at most, its own included; None for all.
        cap: Bound of the scores: cap * tanh(score / cap); None for none.
        sinks: A logit for each head, (heads,), that takes part in the softmax and is dropped; None for none.
        bias: Added to the scores, broadcast to (batch, heads, length, keys); None for none.
        is_causal: Whether no token sees a later one if there is no mask.
    """

    window: int | None
    cap: float | None
    sinks: torch.Tensor | None
    bias: torch.Tensor | None
    is_causal: bool


def read(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    attention_mask: torch.Tensor | None,
    others: dict[str, Any],
) -> Arguments:
    """Return what a layer's attention has to compute beside the plain softmax.

    The window of a call with a cache, whose keys are not as many as its queries, is left to the mask: `transformers`
    made it.

    Args:
        module: The layer that calls.
        query: (batch, heads, length, width).
        key: (batch, key heads, keys, width).
        attention_mask: Mask of any kind, or None.
        others: The other arguments by name.

    Raises:
        UnsupportedAttention: The layer passes what is not computed.
    """
    given = {name: value for name, value in others.items() if value is not None}
    window, cap, sinks, bias = (given.pop(n, None) for n in ("sliding_window", "softcap", "s_aux", "position_bias"))
    is_causal = bool(given.pop("is_causal", getattr(module, "is_causal", True)))
    known = HARMLESS | BOUNDARIES if attention_mask is not None else HARMLESS
    for name in given:
        if name not in known:
            raise _unsupported(module, f"{name} to its attention")
    if cap is not None and cap <= 0:
        raise _unsupported(module, f"softcap {cap} to its attention")
    if sinks is not None and sinks.shape != (query.shape[1],):
        raise _unsupported(module, f"s_aux of shape {tuple(sinks.shape)} to its {query.shape[1]} heads")
    if bias is not None and (cap is not None or sinks is not None):
        raise _unsupported(module, "position_bias together with softcap or s_aux")
    if window is not None and window < 1:
        raise _unsupported(module, f"sliding_window {window} to its attention")
    if window is not None and (query.shape[2] != key.shape[2] or window >= key.shape[2]):
        window = None
    if window is not None and not is_causal:
        raise _unsupported(module, "sliding_window to attention that is not causal")
    return Arguments(window, cap, sinks, bias, is_causal)


def band(first: int, end: int, start: int, window: int | None, device: torch.device) -> torch.Tensor:
    """Return which keys each query sees, causally and within a window: bool, (1, 1, end - first, end - start).

    Args:
        first: Place of the first query.
        end: Place after the last query, and after the last key.
        start: Place of the first key.
        window: Number of keys that a query sees at most, its own included; None for all.
        device: Device of the mask.
    """
    mask = torch.ones(end - first, end - start, dtype=torch.bool, device=device).tril(first - start)
    if window is not None:
        mask = mask.triu(first - start - window + 1)
    return mask[None, None]


def for_each_head(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """Return keys or values of grouped-query attention, (batch, key heads, length, width), repeated for each head."""
    return tensor.repeat_interleave(heads // tensor.shape[1], 1) if tensor.shape[1] != heads else tensor


def wide(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor in fp32, or in fp64 if it is."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _unsupported(module: nn.Module, what: str) -> UnsupportedAttention:
    number = getattr(module, "layer_idx", None)
    where = "" if number is None else f" of layer {number}"
    return UnsupportedAttention(
        f"{type(module).__name__}{where} passes {what}, which Modelmill's attention does not compute"
    )
