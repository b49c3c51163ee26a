"""Augmentation of recordings: speed, noise and masked spectra."""

import torch
import torch.nn.functional as F

from modelmill.tasks.speech_recognition.recipe import Augmentation


def louder_slower(
    samples: torch.Tensor, lengths: torch.Tensor, chosen: Augmentation
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return recordings at another speed, the same for the batch, with noise of another loudness for each.

    Args:
        samples: float32, (batch, samples).
        lengths: Samples of each recording, int64, (batch,).
        chosen: The recipe's settings.
    """
    device = samples.device
    factor = 1 + chosen.speed * float(2 * torch.rand((), device=device) - 1)
    known, size = samples.shape[1], max(1, round(samples.shape[1] / factor))
    samples = F.interpolate(samples[:, None], size=size, mode="linear", align_corners=False)[:, 0]
    lengths = (lengths * size // known).clamp(min=1)
    if chosen.noise is not None:
        loudness = (samples.square().sum(1) / lengths).sqrt()
        below = 10 ** (-(chosen.noise + 30 * torch.rand(len(samples), device=device)) / 20)
        samples = samples + torch.randn_like(samples) * (loudness * below)[:, None]
    return samples, lengths


def masked(spectra: torch.Tensor, frames: torch.Tensor, chosen: Augmentation) -> torch.Tensor:
    """Return spectra with spans of frames and of bands set to their mean, 0.

    Args:
        spectra: Normalised, (batch, frames, bands).
        frames: Frames of each recording, (batch,).
        chosen: The recipe's settings.
    """
    batch, longest, bands = spectra.shape
    device = spectra.device
    for _ in range(chosen.time_masks):
        spectra = _blanked(spectra, frames.float() * chosen.time_share, frames.float(), torch.arange(longest), 1)
    for _ in range(chosen.frequency_masks):
        width = torch.full((batch,), float(chosen.frequency_width), device=device)
        spectra = _blanked(spectra, width, torch.full_like(width, bands), torch.arange(bands), 2)
    return spectra


def _blanked(
    spectra: torch.Tensor, most: torch.Tensor, room: torch.Tensor, places: torch.Tensor, axis: int
) -> torch.Tensor:
    """Return examples with a span along an axis set to 0: up to `most` places, beginning anywhere in `room`."""
    draws = torch.rand(2, len(spectra), device=spectra.device)
    width = draws[0] * most
    begin = draws[1] * (room - width).clamp(min=0)
    places = places.to(spectra.device)
    is_kept = (places < begin[:, None]) | (places >= (begin + width)[:, None])
    return spectra * is_kept.unsqueeze(3 - axis)
