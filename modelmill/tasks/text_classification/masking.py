"""Which tokens pretraining hides, and what stands in their place (Devlin et al., 2018,
https://arxiv.org/abs/1810.04805, section 3.1); drawn anew in each step, as in RoBERTa (Liu et al., 2019,
https://arxiv.org/abs/1907.11692).
"""

from typing import NamedTuple

import torch

# Of the hidden tokens, what a mask stands for, and what another token does; the rest is left as it is.
MASKED, REPLACED = 0.8, 0.1


class Masked(NamedTuple):
    """input_ids: int64, (batch, length), as the model sees them. places: bool, (batch, length), what it has to find."""

    input_ids: torch.Tensor
    places: torch.Tensor


def count(lengths: torch.Tensor, share: float) -> torch.Tensor:
    """How many tokens of each text are hidden, at least one: a function of its length alone, int64, (batch,).

    Args:
        lengths: of the framed texts, (batch,).
    """
    return ((lengths - 2) * share).round().long().clamp(min=1)


def hide(
    input_ids: torch.Tensor, attention_mask: torch.Tensor, draws: torch.Tensor, share: float, mask: int, size: int
) -> Masked:
    """
    Args:
        input_ids, attention_mask: int64, (batch, length), framed by one token at each end.
        draws: uniform in [0, 1), (3, batch, length): what is hidden, what stands for it, and which token replaces it.
        mask: id of the mask. size: of the vocabulary.
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
