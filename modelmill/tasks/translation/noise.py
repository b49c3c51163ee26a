"""Text infilling, the noise of pretraining: spans of a text are hidden.

The method is BART's (Lewis et al., 2019, https://arxiv.org/abs/1910.13461, section 2.2), as mBART uses it (Liu et al.,
2020, https://arxiv.org/abs/2001.08210).
"""

import torch

# Tokens of the longest span: names are short, and the spans of BART's longer texts have 3 on average.
LONGEST = 3


def infill(tokens: torch.Tensor, draws: torch.Tensor, share: float, mask: int, end: int, padding: int) -> torch.Tensor:
    """Return texts with each hidden span replaced by one mask, which hides its length too: int64, (batch, length).

    Args:
        tokens: int64, (batch, length); each text ends with `end`, which is never hidden.
        draws: Uniform in [0, 1), (2 or more, batch, length): where spans begin, and how long they are.
        share: The approximate share of the tokens to hide.
        mask: Id of the token that replaces a span.
        end: Id of the token that ends a text.
        padding: Id of the token that fills up a row.
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
