"""The machine and the image that a step runs on, in words, to be kept with what the step makes."""

import os
import platform

IMAGE_VARIABLE = "MODELMILL_IMAGE"


def here(run_id: str) -> dict[str, str]:
    """The run, the machine, and the image that `MODELMILL_IMAGE` names; without one, the Python of this machine."""
    return {
        "run_id": run_id,
        "machine": f"{platform.node()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "image": os.environ.get(IMAGE_VARIABLE) or f"none, Python {platform.python_version()} on the machine itself",
    }
