"""The image that a step runs in on Docker and on a cluster."""

VERSION = "0.1.0"


def image_of(step: str) -> str:
    """For example `modelmill/data-validation:0.1.0`."""
    return f"modelmill/{step.replace('_', '-')}:{VERSION}"
