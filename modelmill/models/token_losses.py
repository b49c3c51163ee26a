"""The cross-entropy of each token under a linear head, in pieces, for losses that are no sum over tokens.

The loss of a sequence may weigh its tokens in ways that are known only when all of them are scored. A token's gradient
by its hidden state is its own, whatever weight the token gets later: it is computed while a piece's logits are at hand,
and the weight is multiplied into it in the backward pass. That of the head's weights is not: where they are trained,
the backward pass computes the logits again.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from modelmill.models.cross_entropy import IGNORED, LOGITS_AT_ONCE, ROWS_AT_ONCE


class LinearTokenLosses(nn.Module):
    """The cross-entropy of each token under a linear head.

    Attributes:
        score: The part of it to compile.
    """

    def __init__(self) -> None:
        """Create the module, which has no weights."""
        super().__init__()
        self.score = TokenScore()

    def forward(self, hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of each token in nats, fp32, (tokens,).

        Args:
            hidden: (tokens, width).
            weight: (vocabulary, width).
            labels: int64, (tokens,); `IGNORED` ones cost nothing.
        """
        device = hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        with torch.autocast(device, enabled=False):
            losses: torch.Tensor = _InPieces.apply(hidden, weight, labels, dtype, self.score)
        return losses


class TokenScore(nn.Module):
    """The losses of some rows, and their gradients."""

    def forward(
        self, logits: torch.Tensor, labels: torch.Tensor, with_gradient: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the loss of each row in nats and, if asked for, its gradient by the row's logits, in their type.

        Args:
            logits: (rows, vocabulary).
            labels: int64, (rows,); `IGNORED` ones cost nothing.
            with_gradient: Whether to compute the gradients.
        """
        counted = (labels != IGNORED).float().unsqueeze(1)
        label = labels.clamp(min=0).unsqueeze(1)
        highest = logits.amax(1, keepdim=True).float()
        exponentials = (logits - highest).exp_()  # in fp32, as `highest` is
        total = exponentials.sum(1, keepdim=True)
        losses = ((highest + total.log() - logits.gather(1, label)) * counted).squeeze(1)
        if not with_gradient:
            return losses, None
        gradient = exponentials.mul_(counted / total)
        if torch.compiler.is_compiling():
            # One pass over the logits; run as written, in-place operations are four times as fast.
            is_label = torch.arange(logits.shape[1], device=logits.device) == label
            gradient = gradient - counted * is_label
        else:
            gradient.scatter_add_(1, label, -counted)
        return losses, gradient.to(logits.dtype)


class _InPieces(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        labels: torch.Tensor,
        dtype: torch.dtype,
        score: TokenScore,
    ) -> torch.Tensor:
        needs_hidden, needs_weight = ctx.needs_input_grad[:2]
        now = needs_hidden and not needs_weight
        hidden_low, weight_low = hidden.to(dtype), weight.to(dtype)
        losses = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        gradients = torch.empty_like(hidden_low) if now else None
        for part in _pieces(len(hidden), len(weight)):
            logits = hidden_low[part] @ weight_low.t()
            losses[part] = _scored(logits, labels[part], score, now)
            if gradients is not None:
                gradients[part] = logits @ weight_low
        ctx.dtype, ctx.score, ctx.dtypes = dtype, score, (hidden.dtype, weight.dtype)
        ctx.save_for_backward(gradients, *((hidden, weight, labels) if needs_weight else ()))
        return losses

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> Any:
        gradients, *rest = ctx.saved_tensors
        weights = upstream[0].unsqueeze(1)
        if not rest:
            return (gradients * weights).to(ctx.dtypes[0]), None, None, None, None
        hidden, weight, labels = rest
        hidden_low, weight_low = hidden.to(ctx.dtype), weight.to(ctx.dtype)
        grad_hidden = torch.empty_like(hidden_low)
        grad_weight = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device)
        for part in _pieces(len(hidden), len(weight)):
            logits = hidden_low[part] @ weight_low.t()
            _scored(logits, labels[part], ctx.score, True)
            logits *= weights[part]
            grad_hidden[part] = logits @ weight_low
            grad_weight += logits.t() @ hidden_low[part]
        return grad_hidden.to(ctx.dtypes[0]), grad_weight.to(ctx.dtypes[1]), None, None, None


def _scored(logits: torch.Tensor, labels: torch.Tensor, score: TokenScore, with_gradient: bool) -> torch.Tensor:
    """Return the loss of each row; with gradients, these overwrite the logits."""
    losses = []
    for few, its_labels in zip(logits.split(ROWS_AT_ONCE), labels.split(ROWS_AT_ONCE), strict=True):
        loss, gradient = score(few, its_labels, with_gradient)
        losses.append(loss)
        if gradient is not None:
            few.copy_(gradient)
    return torch.cat(losses)


def _pieces(rows: int, vocabulary: int) -> Iterator[slice]:
    """Yield the rows of each piece: a multiple of those that are scored at a time, so that one shape is compiled."""
    size = max(1, LOGITS_AT_ONCE // vocabulary // ROWS_AT_ONCE) * ROWS_AT_ONCE
    yield from (slice(first, min(first + size, rows)) for first in range(0, rows, size))
