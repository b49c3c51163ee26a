"""What older versions of KFP leave out without a word: fields that they do not know are dropped."""

import re

from modelmill.core.errors import UserError

# By the first version that knows it: the field or parameter, and what is lost without.
_SINCE = {
    (2, 15): ("secretAsEnv.optional", "a Secret or a key that is not there keeps steps from starting"),
    (2, 16): (
        "securityContext and propagation_policy",
        "steps do not say that they are not root, which Pod Security `restricted` refuses, and deleting a recurring "
        "run ends its runs",
    ),
}


def require_known(version: str) -> None:
    """Refuse a version of KFP that leaves out something that submitted pipelines ask for.

    Args:
        version: The server's version; one that is no version passes.

    Raises:
        UserError: The version is too old; the message names what is lost.
    """
    numbers = re.match(r"v?(\d+)\.(\d+)", version)
    if not numbers:
        return
    lost = [
        f"{what} (from {since[0]}.{since[1]} on): {consequence}"
        for since, (what, consequence) in _SINCE.items()
        if (int(numbers[1]), int(numbers[2])) < since
    ]
    if lost:
        raise UserError(f"KFP {version} does not know {'; nor '.join(lost)}; upgrade KFP (k8s/install brings 2.17.0)")
