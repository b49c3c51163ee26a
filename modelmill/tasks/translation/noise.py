"""Which parts of a text pretraining hides: text infilling (Lewis et al., 2019, https://arxiv.org/abs/1910.13461,
section 2.2), the noise of mBART (Liu et al., 2020, https://arxiv.org/abs/2001.08210).
"""

import torch

# Names are short: spans of one to so many tokens, where BART's are 3 on average.
LONGEST = 3


def infill(tokens: torch.Tensor, draws: torch.Tensor, share: float, mask: int, end: int, padding: int) -> torch.Tensor:
    """Each hidden span as one mask, so that how long it was is part of what has to be found: int64, (batch, length).

    Args:
        tokens: int64, (batch, length); each text ends with `end`, which stays. draws: uniform in [0, 1), (2 or more,
            batch, length): where spans begin and how long they are. share: of the tokens to hide, roughly.
    """
    begins = draws[0] < share / ((LONGEST + 1) / 2)
    lengths = (draws[1] * LONGEST).long() + 1
    hidden = begins.clone()
    for back in range(1, LONGEST):
        hidden[:, back:] |= (begins & (lengths > back))[:, :-back]
    hidden &= (tokens != end) & (tokens != padding)
    is_rest = hidden.clone()
    is_rest[:, 1:] &= hidden[:, :-1]
    is_rest[:, 0] = False
    seen = torch.where(hidden, mask, tokens).masked_fill(is_rest, padding)
    return seen.gather(1, is_rest.long().argsort(dim=1, stable=True))
