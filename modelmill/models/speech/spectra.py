"""Log-mel spectra of samples."""

import numpy as np
import torch
from torch import nn

WINDOW_SECONDS, HOP_SECONDS = 0.025, 0.01
# Power below which, at some -60 dB of full scale, all is silence.
FLOOR = 1e-6


class LogMel(nn.Module):
    """Logarithms of the power in mel bands of centred Hann windows.

    The bands are triangles, evenly spaced on the mel scale from 0 to half the sample rate (Davis and Mermelstein, 1980,
    https://doi.org/10.1109/TASSP.1980.1163420; the scale is O'Shaughnessy's of 1987).

    Attributes:
        hop: Samples between two windows.
        size: Size of the Fourier transform.
        window: (samples,).
        filters: (frequencies, bands).
    """

    window: torch.Tensor
    filters: torch.Tensor

    def __init__(
        self, rate: int, bands: int, window_seconds: float = WINDOW_SECONDS, hop_seconds: float = HOP_SECONDS
    ) -> None:
        """Compute window and filters.

        Args:
            rate: The sample rate in Hz.
            bands: Number of mel bands.
            window_seconds: Length of a window.
            hop_seconds: Time between two windows.
        """
        super().__init__()
        self.hop = round(rate * hop_seconds)
        length = round(rate * window_seconds)
        self.size = 1 << (length - 1).bit_length()
        self.register_buffer("window", torch.hann_window(length))
        self.register_buffer("filters", mel_filters(rate, self.size, bands))

    def frames(self, samples: torch.Tensor) -> torch.Tensor:
        """Return the number of frames for a number of samples."""
        return samples // self.hop + 1

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Return log-mel spectra, float32, (batch, frames, bands).

        Args:
            samples: (batch, samples), where full scale is 1.
        """
        with torch.autocast(samples.device.type, enabled=False):
            power = self.transform(samples).abs().square().transpose(1, 2) / self.window.sum() ** 2
            return (power @ self.filters + FLOOR).log()

    def transform(self, samples: torch.Tensor) -> torch.Tensor:
        """Return the short-time Fourier transform: complex, (batch, frequencies, frames)."""
        window = self.window
        return torch.stft(samples, self.size, self.hop, len(window), window, pad_mode="constant", return_complex=True)

    def inverse(self, spectra: torch.Tensor) -> torch.Tensor:
        """Return samples, (batch, samples), whose transform is nearest to the given spectra."""
        return torch.istft(spectra, self.size, self.hop, len(self.window), self.window)


def silenced(values: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return values, (batch, length, width), with zeros after the end of each row."""
    return values * (torch.arange(values.shape[1], device=values.device) < lengths[:, None])[:, :, None]


def mel_filters(rate: int, size: int, bands: int) -> torch.Tensor:
    """Return the share of each frequency in each band, float32, (size // 2 + 1, bands).

    Args:
        rate: The sample rate in Hz.
        size: Size of the Fourier transform.
        bands: Number of bands.
    """
    frequencies = torch.linspace(0, rate / 2, size // 2 + 1, dtype=torch.float64)
    highest = 2595 * np.log10(1 + rate / 2 / 700)
    corners = 700 * (10 ** (torch.linspace(0, highest, bands + 2, dtype=torch.float64) / 2595) - 1)
    rising = (frequencies[:, None] - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - frequencies[:, None]) / (corners[2:] - corners[1:-1])
    return torch.minimum(rising, falling).clamp(min=0).float()
