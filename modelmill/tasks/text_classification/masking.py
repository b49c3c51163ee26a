"""Masking of tokens in pretraining (Devlin et al., 2018, https://arxiv.org/abs/1810.04805, section 3.1).

Masks are drawn anew in each step, as in RoBERTa (Liu et al., 2019, https://arxiv.org/abs/1907.11692).
"""

from typing import NamedTuple

import torch

# Shares of the hidden tokens that a mask, or another token, replaces; the rest is left as it is.
MASKED, REPLACED = 0.8, 0.1


class Masked(NamedTuple):
    """Tokens with some of them hidden.

    Attributes:
        input_ids: The model's input, int64, (batch, length).
        places: Where the model has to predict the token, bool, (batch, length).
    """

    input_ids: torch.Tensor
    places: torch.Tensor


def count(lengths: torch.Tensor, share: float) -> torch.Tensor:
    """Return how many tokens of each text are hidden, at least one: int64, (batch,).

    It depends on the text's length alone.

    Args:
        lengths: Tokens of the framed texts, (batch,).
        share: Share of the tokens between the frames to hide.
    """
    return ((lengths - 2) * share).round().long().clamp(min=1)


def hide(
    input_ids: torch.Tensor, attention_mask: torch.Tensor, draws: torch.Tensor, share: float, mask: int, size: int
) -> Masked:
    """Return texts with some of their tokens hidden.

    Args:
        input_ids: int64, (batch, length), framed by one token at each end.
        attention_mask: 1 where there is a token, int64, (batch, length).
        draws: Uniform in [0, 1), (3, batch, length): which tokens are hidden, how, and which token replaces them.
        share: Share of the tokens to hide.
        mask: Id of the mask.
        size: Size of the vocabulary.
    """
    lengths = attention_mask.sum(1)
    places = torch.arange(input_ids.shape[1], device=input_ids.device)
    is_text = (places >= 1) & (places < lengths[:, None] - 1)
    order = draws[0].masked_fill(~is_text, 2.0).argsort(dim=1, stable=True)
    rank = order.argsort(dim=1, stable=True)
    hidden = is_text & (rank < count(lengths, share)[:, None])
    seen = torch.where(hidden & (draws[1] < MASKED), mask, input_ids)
    replaced = hidden & (draws[1] >= MASKED) & (draws[1] < MASKED + REPLACED)
    seen = torch.where(replaced, (draws[2] * size).long().clamp(max=size - 1), seen)
    return Masked(seen, hidden)
