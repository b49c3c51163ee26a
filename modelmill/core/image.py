"""The image that a step runs in on Docker and on a cluster."""

VERSION = "0.1.0"
# The report needs little, and that image has it all.
_SHARED = {"reporting": "registration"}


def image_of(step: str) -> str:
    """Return the name of a step's image, such as `modelmill/data-validation:0.1.0`."""
    return f"modelmill/{_SHARED.get(step, step).replace('_', '-')}:{VERSION}"
