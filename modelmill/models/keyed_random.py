"""Random numbers that depend on a key, so that a held-out example is disturbed alike each time."""

import torch


def drawn(keys: torch.Tensor, length: int) -> torch.Tensor:
    """Return numbers in [0, 1), fp64, (3, batch, length), that depend on a text's key and the place alone.

    They are those of SplitMix64 (Steele et al., 2014, https://doi.org/10.1145/2660193.2660195).

    Args:
        keys: Keys of the texts, int64, (batch,).
        length: Number of places.
    """
    # Three numbers a place, in order of places, so that they do not depend on the batch's length.
    places = torch.arange(3 * length, device=keys.device).view(length, 3).T[:, None, :]
    mixed = keys[None, :, None] + places * -0x61C8864680B583EB
    mixed = (mixed ^ _shifted(mixed, 30)) * -0x40A7B892E31B1A47
    mixed = (mixed ^ _shifted(mixed, 27)) * -0x6B2FB644ECCEEE15
    mixed = mixed ^ _shifted(mixed, 31)
    return _shifted(mixed, 11).double() / 2**53


def _shifted(values: torch.Tensor, places: int) -> torch.Tensor:
    """Return the values shifted to the right with zeros coming in; torch's own shift brings in the sign."""
    return (values >> places) & ((1 << (64 - places)) - 1)
