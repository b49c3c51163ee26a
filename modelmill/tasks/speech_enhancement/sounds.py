"""What is done with samples: noise of any colour, and how far a signal is from the one that was meant."""

import torch

SMALL = 1e-8
PAUSE = 1e-6


def si_sdr(found: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """The scale-invariant signal-to-distortion ratio in dB (Le Roux et al., 2019, https://arxiv.org/abs/1811.02508):
    how much stronger what is along the clean signal is than all that is not. (batch, samples) to (batch,).
    """
    found, clean = (one - one.mean(-1, keepdim=True) for one in (found.double(), clean.double()))
    along = (found * clean).sum(-1, keepdim=True) / clean.square().sum(-1, keepdim=True).clamp(min=SMALL) * clean
    ratio = along.square().sum(-1).clamp(min=SMALL) / (found - along).square().sum(-1).clamp(min=SMALL)
    return 10 * ratio.log10()


def error(found: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """The power of the difference in dB, beside that of the clean signal: (batch, samples) to (batch,). Powers are
    taken as -60 dB at least, so that a pause costs no more than it can be heard.
    """
    powers = [one.square().mean(-1) + PAUSE for one in (found - clean, clean)]
    return 10 * (powers[0] / powers[1]).log10()


def coloured(count: int, samples: int, device: torch.device) -> torch.Tensor:
    """Noise whose power falls with frequency f by f^-2 to f^0, and comes and goes, of power 1: (count, samples)."""
    spectrum = torch.fft.rfft(torch.randn(count, samples, device=device))
    frequencies = torch.arange(1, spectrum.shape[1] + 1, device=device)
    noise = torch.fft.irfft(spectrum * frequencies ** -torch.rand(count, 1, device=device), samples)
    times = torch.linspace(0, 1, samples, device=device)
    speed, phase, depth = (torch.rand(count, 1, device=device) for _ in range(3))
    noise = noise * (1 + depth * torch.sin(6.28 * (8 * speed * times + phase)))
    return noise / noise.square().mean(1, keepdim=True).sqrt().clamp(min=SMALL)


def at_ratio(clean: torch.Tensor, noise: torch.Tensor, ratio: torch.Tensor) -> torch.Tensor:
    """Noise of power 1 added to recordings at ratios in dB: (batch, samples), (batch, samples), (batch, 1)."""
    power = clean.square().mean(1, keepdim=True).clamp(min=SMALL)
    return clean + noise * (power * 10 ** (-ratio / 10)).sqrt()
