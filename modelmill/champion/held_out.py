"""Descriptions of held-out sets. Two models are compared only on the same one."""

from typing import Any


def what_differs(challenger: dict[str, Any], champion: dict[str, Any]) -> str:
    """Return, in words, how the held-out sets of two evaluations differ; empty if they do not.

    Args:
        challenger: Description of the challenger's held-out set.
        champion: Description of the champion's held-out set.
    """
    keys = [key for key in sorted({*challenger, *champion}) if challenger.get(key) != champion.get(key)]
    return ", ".join(f"{key} was {champion.get(key)} and is {challenger.get(key)}" for key in keys)
