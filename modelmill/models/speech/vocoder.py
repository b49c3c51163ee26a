"""Samples for given spectra: the phases, which mel spectra lack, are guessed."""

import torch

from modelmill.models.speech.spectra import FLOOR, LogMel

ITERATIONS, UPDATES = 60, 30
# The fast variant's momentum: how far each guess continues in the direction of the last.
MOMENTUM = 0.99
SEED = 0


def griffin_lim(mel: torch.Tensor, spectra: LogMel) -> torch.Tensor:
    """Return samples, float32, (samples,), within full scale, whose log-mel spectra are near those given.

    The fast variant (Perraudin et al., 2013, https://doi.org/10.1109/WASPAA.2013.6701851) of Griffin and Lim's
    algorithm (1984, https://doi.org/10.1109/TASSP.1984.1164317).

    Args:
        mel: (frames, bands), as `spectra` computes them.
        spectra: The transform.
    """
    magnitude = unmelled((mel.exp() - FLOOR).clamp(min=0), spectra.filters).sqrt() * spectra.window.sum()
    generator = torch.Generator().manual_seed(SEED)
    phases = torch.rand(magnitude.shape, generator=generator).to(mel.device) * (2 * torch.pi)
    guess, last = torch.polar(torch.ones_like(magnitude), phases), torch.zeros((), device=mel.device)
    for _ in range(ITERATIONS):
        consistent = spectra.transform(spectra.inverse((magnitude * guess).T[None]))[0].T
        moved = consistent + MOMENTUM * (consistent - last)
        guess, last = moved / moved.abs().clamp(min=1e-12), consistent
    samples = spectra.inverse((magnitude * guess).T[None])[0]
    return samples / samples.abs().max().clamp(min=1)


def unmelled(power: torch.Tensor, filters: torch.Tensor) -> torch.Tensor:
    """Return the power at each frequency, (frames, frequencies), none negative, that gives the power in bands.

    By multiplicative updates (Lee and Seung, 2000, "Algorithms for non-negative matrix factorization").

    Args:
        power: (frames, bands).
        filters: (frequencies, bands).
    """
    estimate = power @ (filters / filters.sum(0).clamp(min=1e-12)).T + 1e-12
    for _ in range(UPDATES):
        estimate = estimate * ((power @ filters.T) / ((estimate @ filters) @ filters.T).clamp(min=1e-12))
    return estimate
