"""The divergence of a model from its teacher, of which the likeliest tokens are known (Hinton et al., 2015).

What is known of a teacher at a place is the probability of its `k` likeliest tokens, and that of all others together.
The others are one bucket, for the model as well: the loss is the Kullback-Leibler divergence of two distributions over
k + 1 outcomes. It is exact for these and, with all tokens known, the divergence over the vocabulary; with fewer it is
never more than that. Probabilities are those at a temperature, and the loss is multiplied by its square, so that
gradients do not shrink with it (https://arxiv.org/abs/1503.02531, section 2).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F

from modelmill.models.cross_entropy import IGNORED, in_pieces

# Logarithm of the least probability that is kept.
LEAST = -1e30


class Known(NamedTuple):
    """What is known of a teacher at some places.

    Attributes:
        tokens: Its likeliest tokens, int64, (places, k).
        logs: Logarithms of their probabilities, fp32, (places, k).
        rest: Logarithm of the probability of all other tokens, fp32, (places,); -inf where there are none.
    """

    tokens: torch.Tensor
    logs: torch.Tensor
    rest: torch.Tensor


def known_of(logits: torch.Tensor, k: int, temperature: float) -> Known:
    """Return what is kept of a teacher.

    Args:
        logits: Its logits, (places, vocabulary).
        k: Number of tokens, at most those of the vocabulary.
        temperature: Divisor of the logits.
    """
    scaled = logits.float() / temperature
    # Sorted by token, so that equal logits make equal files whatever the order in which a device finds them.
    tokens = scaled.topk(k, sorted=False).indices.sort(1).values
    norm = scaled.logsumexp(1)
    rest = scaled.scatter(1, tokens, float("-inf")).logsumexp(1)
    # A token that the teacher rules out is next to impossible, so that its part of the sum is a number: 0.
    logs = (scaled.gather(1, tokens) - norm.unsqueeze(1)).clamp(min=LEAST)
    return Known(tokens, logs, rest - norm)


def divergence(logits: torch.Tensor, known: Known, temperature: float) -> torch.Tensor:
    """Return the divergence of a model from its teacher in nats, fp32, (places,).

    Args:
        logits: The model's logits, (places, vocabulary).
        known: What is known of the teacher, at the same temperature.
        temperature: Divisor of the logits.
    """
    scaled = logits.float() / temperature
    named = scaled.gather(1, known.tokens)
    norm = named.logsumexp(1)
    bucket = torch.zeros_like(norm)
    if known.tokens.shape[1] < scaled.shape[1]:
        # By itself, not as what is missing to 1: that would lose all digits where the named tokens are nearly certain.
        others = scaled.scatter(1, known.tokens, float("-inf")).logsumexp(1)
        norm = torch.logaddexp(norm, others)
        has_rest = ~known.rest.isneginf()
        rest = torch.where(has_rest, known.rest, 0)
        bucket = torch.where(has_rest, rest.exp() * (rest - others + norm), 0)
    return (known.logs.exp() * (known.logs - named + norm.unsqueeze(1))).sum(1) + bucket


def loss(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    labels: torch.Tensor,
    known: Known,
    temperature: float,
    share: float,
    counted: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the summed loss of a linear head in nats, without the logits of the whole batch: an fp32 scalar.

    Args:
        hidden: (places, width).
        weight: (vocabulary, width).
        labels: int64, (places,); `IGNORED` ones cost nothing.
        known: What is known of the teacher.
        temperature: Divisor of the logits.
        share: Share of the divergence in the loss; the rest is that of the labels' cross-entropy.
        counted: fp32, (places,), how much each label counts; None where those that count do so alike.
    """

    def score(logits: torch.Tensor, *targets: torch.Tensor, gradient: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
        with torch.enable_grad():
            leaf = logits.detach().requires_grad_(gradient)
            labels, *others = targets
            total = of_logits(leaf, labels, Known(*others[:3]), temperature, share, *others[3:])
            return total.detach(), torch.autograd.grad(total, leaf)[0] if gradient else None

    return in_pieces(hidden, weight, (labels, *known, *([] if counted is None else [counted])), score)


def of_logits(
    logits: torch.Tensor,
    labels: torch.Tensor,
    known: Known,
    temperature: float,
    share: float,
    counted: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the summed loss of logits in nats, an fp32 scalar; see `loss`."""
    nats = torch.zeros(len(labels), dtype=torch.float32, device=logits.device)
    if share:
        apart = divergence(logits, known, temperature)
        nats = nats + share * temperature**2 * torch.where(labels != IGNORED, apart, 0)
    if share < 1:
        nats = nats + (1 - share) * F.cross_entropy(logits.float(), labels, reduction="none", ignore_index=IGNORED)
    return (nats if counted is None else nats * counted).sum()
