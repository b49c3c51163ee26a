"""The cross-entropy of a linear head, in pieces, so that the logits of a whole batch never exist in fp32.

As in Liger Kernel (Hsu et al., 2024, https://arxiv.org/abs/2410.10989), the gradients are computed with the loss, while
a piece's logits are at hand. `torch.nn.functional.linear_cross_entropy` does the same, but not compiled: on a CPU it
was slower than logits of the whole batch.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

IGNORED = -100
# Scores some rows: of their logits and targets, and of whether it is wanted, the summed loss and its gradient.
Scoring = Callable[..., tuple[torch.Tensor, torch.Tensor | None]]
# Logits of a piece: 64 MiB in bf16, which is large enough for a CPU's matrix products to run at full speed.
LOGITS_AT_ONCE = 2**25
# Largest share of a GPU's memory for a piece's logits in bf16: fewer and larger pieces than on a CPU.
MEMORY_OF_LOGITS = 1 / 128
# Rows that a CPU scores at a time: few shapes to compile, and few enough to stay in its cache. A GPU scores a piece.
ROWS_AT_ONCE = 256


class LinearCrossEntropy(nn.Module):
    """The cross-entropy of a linear head.

    Attributes:
        score: The part of it to compile.
    """

    def __init__(self) -> None:
        """Create the module, which has no weights."""
        super().__init__()
        self.score = Score()

    def forward(
        self,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        labels: torch.Tensor,
        smoothing: float = 0.0,
        counted: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the summed loss in nats, an fp32 scalar.

        Args:
            hidden: (tokens, width).
            weight: (vocabulary, width).
            labels: int64, (tokens,); `IGNORED` ones cost nothing.
            smoothing: Share of a label's probability that is spread evenly over the vocabulary.
            counted: fp32, (tokens,), how much each label counts; None where those that count do so alike.
        """

        def score(
            logits: torch.Tensor, labels: torch.Tensor, *counts: torch.Tensor, gradient: bool
        ) -> tuple[torch.Tensor, torch.Tensor | None]:
            scored: tuple[torch.Tensor, torch.Tensor | None] = self.score(logits, labels, smoothing, gradient, *counts)
            return scored

        return in_pieces(hidden, weight, (labels,) if counted is None else (labels, counted), score)


def in_pieces(
    hidden: torch.Tensor, weight: torch.Tensor, targets: tuple[torch.Tensor, ...], score: Scoring
) -> torch.Tensor:
    """Return the summed loss of a linear head, whose logits are made and scored some rows at a time: an fp32 scalar.

    Args:
        hidden: (rows, width).
        weight: (vocabulary, width).
        targets: What rows are scored by, each with a first axis of rows.
        score: Returns the summed loss of some rows' logits by their targets and, with `gradient=True`, its gradient
            by the logits, in the logits' type.
    """
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    with torch.autocast(device, enabled=False):
        total: torch.Tensor = _InPieces.apply(hidden, weight, targets, dtype, score)
    return total


class Score(nn.Module):
    """The loss of some rows, and its gradient."""

    def forward(
        self,
        logits: torch.Tensor,
        labels: torch.Tensor,
        smoothing: float,
        with_gradient: bool,
        counts: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the summed loss in nats and, if asked for, its gradient by the logits, in the logits' type.

        Args:
            logits: (rows, vocabulary).
            labels: int64, (rows,); `IGNORED` ones cost nothing.
            smoothing: Share of a label's probability that is spread evenly over the vocabulary.
            with_gradient: Whether to compute the gradient.
            counts: fp32, (rows,), how much each label counts; None where those that count do so alike.
        """
        counted = (labels != IGNORED).float().unsqueeze(1)
        if counts is not None:
            counted = counted * counts.unsqueeze(1)
        label = labels.clamp(min=0).unsqueeze(1)
        highest = logits.amax(1, keepdim=True).float()
        exponentials = (logits - highest).exp_()  # in fp32, as `highest` is
        total = exponentials.sum(1, keepdim=True)
        norm = highest + total.log()
        losses = norm - (1 - smoothing) * logits.gather(1, label)
        if smoothing:
            losses -= smoothing * logits.mean(1, keepdim=True, dtype=torch.float32)
        loss = (losses * counted).sum()
        if not with_gradient:
            return loss, None
        gradient = exponentials.mul_(counted / total)
        if torch.compiler.is_compiling():
            # One pass over the logits; run as written, in-place operations are four times as fast.
            is_label = torch.arange(logits.shape[1], device=logits.device) == label
            gradient = gradient - (1 - smoothing) * counted * is_label
        else:
            gradient.scatter_add_(1, label, -(1 - smoothing) * counted)
        if smoothing:
            gradient -= smoothing / logits.shape[1] * counted
        return loss, gradient.to(logits.dtype)


class _InPieces(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        targets: tuple[torch.Tensor, ...],
        dtype: torch.dtype,
        score: Scoring,
    ) -> torch.Tensor:
        needs_hidden, needs_weight = ctx.needs_input_grad[:2]
        hidden_low, weight_low = hidden.to(dtype), weight.to(dtype)
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        grad_hidden = torch.empty_like(hidden_low) if needs_hidden else None
        grad_weight = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device) if needs_weight else None
        first = 0
        for rows, at_once in _pieces(len(hidden), len(weight), hidden.device):
            part = slice(first, first + rows)
            first += rows
            logits = hidden_low[part] @ weight_low.t()
            of_few = zip(*(target[part].split(at_once) for target in targets), strict=True)
            for few, its_targets in zip(logits.split(at_once), of_few, strict=True):
                loss, gradient = score(few, *its_targets, gradient=needs_hidden or needs_weight)
                total += loss
                if gradient is not None and len(few) == len(logits):
                    logits = gradient
                elif gradient is not None:
                    few.copy_(gradient)
            if grad_hidden is not None:
                grad_hidden[part] = logits @ weight_low
            if grad_weight is not None:
                grad_weight += logits.t() @ hidden_low[part]
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.dtypes = hidden.dtype, weight.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> Any:
        gradients = (
            None if grad is None else (grad * upstream[0]).to(dtype)
            for grad, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        )
        return (*gradients, None, None, None)


def _pieces(rows: int, vocabulary: int, device: torch.device) -> Iterator[tuple[int, int]]:
    """Yield the number of rows of each piece, and how many of them are scored at a time."""
    if device.type == "cpu":
        most = max(1, LOGITS_AT_ONCE // vocabulary)
        yield from ((min(most, rows - first), ROWS_AT_ONCE) for first in range(0, rows, most))
    else:
        memory = torch.cuda.get_device_properties(device).total_memory
        yield from ((size, size) for size in sizes_on_gpu(rows, int(MEMORY_OF_LOGITS * memory / (2 * vocabulary))))


def sizes_on_gpu(rows: int, most: int) -> Iterator[int]:
    """Yield sizes of pieces: `ROWS_AT_ONCE` times a power of four each, except for a rest.

    So there are few sizes to compile, whatever the number of rows of a batch.

    Args:
        rows: Rows of the batch.
        most: About the size of a piece.
    """
    size = ROWS_AT_ONCE * 4 ** max(0, math.floor(math.log(max(1, most) / ROWS_AT_ONCE, 4)))
    while rows:
        while size > rows and size > ROWS_AT_ONCE:
            size //= 4
        yield min(size, rows)
        rows -= min(size, rows)
