"""The machine and the image that a step runs on, in words that are kept with the step's results."""

import os
import platform

from modelmill.core import limits

IMAGE_VARIABLE = "MODELMILL_IMAGE"


def here(run_id: str) -> dict[str, str]:
    """Return the run, this machine, and the image that `MODELMILL_IMAGE` names or else this Python, in words."""
    return {
        "run_id": run_id,
        "machine": f"{platform.node()}, {platform.system()} {platform.machine()}, {limits.cores()} cores",
        "image": os.environ.get(IMAGE_VARIABLE) or f"none, Python {platform.python_version()} on the machine itself",
    }
