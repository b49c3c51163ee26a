"""A mask on a spectrum: which part of each frequency at each time is speech.

Masks are those of Wang, Narayanan and Wang (*On training targets for supervised speech separation*, 2014,
https://doi.org/10.1109/TASLP.2014.2352935), found by the dilated convolutions of Conv-TasNet (Luo and Mesgarani, 2019,
https://arxiv.org/abs/1809.07454, section II.C).
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

DILATIONS = 4  # 1, 2, 4, 8, and again
FLOOR = 1e-5  # of a magnitude, where full scale is 1


class DilatedBlock(nn.Module):
    """Mixes channels, then each channel's times, and adds that to what came in."""

    def __init__(self, channels: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.mix = nn.Conv1d(channels, channels, 1)
        self.norm = nn.GroupNorm(1, channels)
        self.times = nn.Conv1d(channels, channels, 3, padding=dilation, dilation=dilation, groups=channels)
        self.out = nn.Conv1d(channels, channels, 1)
        self.dropout = nn.Dropout1d(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.times(self.norm(torch.relu(self.mix(x))))
        made: torch.Tensor = x + self.dropout(self.out(torch.relu(y)))
        return made


class Enhancer(nn.Module):
    """Samples, float32, (batch, samples), to samples without the noise.

    Args:
        window: samples of a Hann window, a multiple of 4; one begins every quarter of that.
    """

    window: torch.Tensor

    def __init__(self, window: int, channels: int, blocks: int, dropout: float) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(window), persistent=False)
        bands = window // 2 + 1
        self.first = nn.Conv1d(bands, channels, 1)
        self.blocks = nn.Sequential(*(DilatedBlock(channels, 2 ** (n % DILATIONS), dropout) for n in range(blocks)))
        self.mask = nn.Conv1d(channels, bands, 1)

    @property
    def shortest(self) -> int:
        """Return how many samples a recording must have."""
        return len(self.window) // 2 + 1

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Return samples without the noise.

        Raises:
            RuntimeError: There are fewer than `shortest`.
        """
        size = len(self.window)
        with torch.autocast(samples.device.type, enabled=False):
            spectrum = torch.stft(samples.float(), size, size // 4, window=self.window, return_complex=True)
            # Loudness as such says nothing: each recording is seen beside its own mean.
            levels = (spectrum.abs() / size + FLOOR).log()
            levels = levels - levels.mean((1, 2), keepdim=True)
        masks = torch.sigmoid(self.mask(self.blocks(self.first(levels))).float())
        with torch.autocast(samples.device.type, enabled=False):
            return torch.istft(spectrum * masks, size, size // 4, window=self.window, length=samples.shape[1])


def of_config(config: Mapping[str, Any], dropout: float = 0.0) -> Enhancer:
    """Return the network that a model's `config.json` describes.

    Args:
        config: `window_seconds`, `sample_rate` in Hz, `channels` and `blocks`.
        dropout: Of whole channels.
    """
    window = 4 * round(config["window_seconds"] * config["sample_rate"] / 4)
    return Enhancer(window, config["channels"], config["blocks"], dropout)
