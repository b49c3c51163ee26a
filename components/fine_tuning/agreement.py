"""Whether two forms of one model say the same."""

import torch

from modelmill.core.errors import ModelmillError

# Greatest difference of logits, as a fraction of the greatest logit. In fp32, adding up the same products in another
# order makes less than a tenth of this; a wrong merge or a wrong operator makes far more.
TOLERANCE = 1e-4


def require_agreement(what: str, expected: torch.Tensor, found: torch.Tensor, advice: str) -> None:
    """
    Args:
        expected, found: logits in fp32, of one shape.
    Raises:
        ModelmillError: they differ by more than rounding does.
    """
    difference = (found - expected).abs().max().item()
    limit = TOLERANCE * max(1.0, expected.abs().max().item())
    if not difference <= limit:  # nor if it is NaN
        raise ModelmillError(
            f"{what}: logits differ by up to {difference:.3g}, where {limit:.3g} could be rounding; {advice}"
        )
