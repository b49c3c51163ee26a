"""Signals: noise of any colour, and measures of how far a signal is from the clean one."""

import torch

SMALL = 1e-8
PAUSE = 1e-6


def si_sdr(estimate: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """Return scale-invariant signal-to-distortion ratios in dB, (batch,).

    The ratio is the power of the estimate's component along the clean signal to that of the rest (Le Roux et al., 2019,
    https://arxiv.org/abs/1811.02508).

    Args:
        estimate: (batch, samples).
        clean: (batch, samples).
    """
    estimate, clean = (one - one.mean(-1, keepdim=True) for one in (estimate.double(), clean.double()))
    along = (estimate * clean).sum(-1, keepdim=True) / clean.square().sum(-1, keepdim=True).clamp(min=SMALL) * clean
    ratio = along.square().sum(-1).clamp(min=SMALL) / (estimate - along).square().sum(-1).clamp(min=SMALL)
    return 10 * ratio.log10()


def error(estimate: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """Return the power of the difference relative to that of the clean signal, in dB, (batch,).

    Powers are -60 dB at least, so that a pause costs no more than can be heard.

    Args:
        estimate: (batch, samples).
        clean: (batch, samples).
    """
    powers = [one.square().mean(-1) + PAUSE for one in (estimate - clean, clean)]
    return 10 * (powers[0] / powers[1]).log10()


def coloured(count: int, samples: int, device: torch.device) -> torch.Tensor:
    """Return noise of power 1 whose loudness comes and goes: (count, samples).

    Its power falls with frequency f as f^-a, with a drawn from 0 to 2 for each.

    Args:
        count: Number of recordings.
        samples: Length of each.
        device: Device of the result.
    """
    spectrum = torch.fft.rfft(torch.randn(count, samples, device=device))
    frequencies = torch.arange(1, spectrum.shape[1] + 1, device=device)
    noise = torch.fft.irfft(spectrum * frequencies ** -torch.rand(count, 1, device=device), samples)
    times = torch.linspace(0, 1, samples, device=device)
    speed, phase, depth = (torch.rand(count, 1, device=device) for _ in range(3))
    noise = noise * (1 + depth * torch.sin(6.28 * (8 * speed * times + phase)))
    return noise / noise.square().mean(1, keepdim=True).sqrt().clamp(min=SMALL)


def at_ratio(clean: torch.Tensor, noise: torch.Tensor, ratio: torch.Tensor) -> torch.Tensor:
    """Return recordings with noise added at given signal-to-noise ratios: (batch, samples).

    Args:
        clean: (batch, samples).
        noise: Noise of power 1, (batch, samples).
        ratio: In dB, (batch, 1).
    """
    power = clean.square().mean(1, keepdim=True).clamp(min=SMALL)
    return clean + noise * (power * 10 ** (-ratio / 10)).sqrt()
