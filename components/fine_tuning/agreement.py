"""The check that two forms of one model compute the same."""

import torch

from modelmill.core.errors import ModelmillError

# Largest difference of logits, as a fraction of the largest logit. In fp32, adding up the same products in another
# order makes less than a tenth of this; a wrong merge or a wrong operator makes far more.
TOLERANCE = 1e-4


def require_agreement(what: str, expected: torch.Tensor, actual: torch.Tensor, advice: str) -> None:
    """Check that the logits of two forms of a model agree.

    Args:
        what: What is checked, for the message.
        expected: Logits of the one form, in fp32.
        actual: Logits of the other form, of the same shape.
        advice: What the user can do.

    Raises:
        ModelmillError: They differ by more than rounding does.
    """
    difference = (actual - expected).abs().max().item()
    limit = TOLERANCE * max(1.0, expected.abs().max().item())
    if not difference <= limit:  # nor if it is NaN
        raise ModelmillError(
            f"{what}: logits differ by up to {difference:.3g}, where {limit:.3g} could be rounding; {advice}"
        )
