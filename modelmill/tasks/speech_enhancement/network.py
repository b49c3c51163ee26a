"""A mask on a spectrum: the share of each frequency at each time that is speech.

Masks are those of Wang, Narayanan and Wang (*On training targets for supervised speech separation*, 2014,
https://doi.org/10.1109/TASLP.2014.2352935); the dilated convolutions that estimate them are those of Conv-TasNet (Luo
and Mesgarani, 2019, https://arxiv.org/abs/1809.07454, section II.C).
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

DILATIONS = 4  # 1, 2, 4, 8, and again
FLOOR = 1e-5  # of a magnitude, where full scale is 1


class DilatedBlock(nn.Module):
    """A residual block: a convolution over channels, then one over the times of each channel."""

    def __init__(self, channels: int, dilation: int, dropout: float) -> None:
        """Build the block with random weights.

        Args:
            channels: Channels of the input and of the output.
            dilation: Distance in frames of the times that are convolved.
            dropout: Share of the channels that are dropped in training.
        """
        super().__init__()
        self.mix = nn.Conv1d(channels, channels, 1)
        self.norm = nn.GroupNorm(1, channels)
        self.times = nn.Conv1d(channels, channels, 3, padding=dilation, dilation=dilation, groups=channels)
        self.out = nn.Conv1d(channels, channels, 1)
        self.dropout = nn.Dropout1d(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output, (batch, channels, frames), the shape of its input."""
        y = self.times(self.norm(torch.relu(self.mix(x))))
        made: torch.Tensor = x + self.dropout(self.out(torch.relu(y)))
        return made


class Enhancer(nn.Module):
    """A network that takes the noise out of recordings."""

    window: torch.Tensor

    def __init__(self, window: int, channels: int, blocks: int, dropout: float) -> None:
        """Build the network with random weights.

        Args:
            window: Length of the Hann window in samples, a multiple of 4; the hop is a quarter of it.
            channels: Channels of each block.
            blocks: Number of blocks.
            dropout: Share of the channels that are dropped in training.
        """
        super().__init__()
        self.register_buffer("window", torch.hann_window(window), persistent=False)
        bands = window // 2 + 1
        self.first = nn.Conv1d(bands, channels, 1)
        self.blocks = nn.Sequential(*(DilatedBlock(channels, 2 ** (n % DILATIONS), dropout) for n in range(blocks)))
        self.mask = nn.Conv1d(channels, bands, 1)

    @property
    def shortest(self) -> int:
        """The fewest samples that a recording may have."""
        return len(self.window) // 2 + 1

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Return the samples without the noise, float32, (batch, samples).

        Args:
            samples: float32, (batch, samples).

        Raises:
            RuntimeError: There are fewer samples than `shortest`.
        """
        size = len(self.window)
        with torch.autocast(samples.device.type, enabled=False):
            spectrum = torch.stft(samples.float(), size, size // 4, window=self.window, return_complex=True)
            # Absolute loudness carries no information: levels are relative to the recording's mean.
            levels = (spectrum.abs() / size + FLOOR).log()
            levels = levels - levels.mean((1, 2), keepdim=True)
        masks = torch.sigmoid(self.mask(self.blocks(self.first(levels))).float())
        with torch.autocast(samples.device.type, enabled=False):
            return torch.istft(spectrum * masks, size, size // 4, window=self.window, length=samples.shape[1])


def of_config(config: Mapping[str, Any], dropout: float = 0.0) -> Enhancer:
    """Return the network that a model's `config.json` describes.

    Args:
        config: `window_seconds`, `sample_rate` in Hz, `channels` and `blocks`.
        dropout: Share of the channels that are dropped in training.
    """
    window = 4 * round(config["window_seconds"] * config["sample_rate"] / 4)
    return Enhancer(window, config["channels"], config["blocks"], dropout)
