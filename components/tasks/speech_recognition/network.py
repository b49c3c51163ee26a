"""A network that writes down what is spoken, a symbol for each 20 ms.

Convolutions over log-mel spectra and bidirectional LSTM layers, trained with CTC, as in Deep Speech 2 (Amodei et al.,
2015, https://arxiv.org/abs/1512.02595).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from components.tasks.speech_recognition.recipe import Augmentation
from components.training.sound import LogMel

KERNEL, STRIDES = 5, (2, 1)
# The symbol that is no character, and stands between two that are alike; characters are numbered from 1.
BLANK = 0


class Recogniser(nn.Module):
    """Args:
    config: `sample_rate` in Hz, `alphabet`, and the recipe's model. augmentation: what training does to recordings.
    """

    def __init__(self, config: dict[str, Any], dropout: float = 0.0, augmentation: Augmentation | None = None) -> None:
        super().__init__()
        channels, hidden = config["channels"], config["hidden_size"]
        self.augmentation = augmentation
        self.spectra = LogMel(config["sample_rate"], config["mels"])
        self.convolutions = nn.ModuleList(
            [
                nn.Conv1d(config["mels"], channels, KERNEL, stride=STRIDES[0], padding=KERNEL // 2),
                nn.Conv1d(channels, channels, KERNEL, padding=KERNEL // 2),
            ]
        )
        self.norms = nn.ModuleList([nn.LayerNorm(channels) for _ in self.convolutions])
        widths = [channels, *[2 * hidden] * (config["num_layers"] - 1)]
        self.onward = nn.ModuleList([nn.LSTM(width, hidden, batch_first=True) for width in widths])
        self.back = nn.ModuleList([nn.LSTM(width, hidden, batch_first=True) for width in widths])
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * hidden, len(config["alphabet"]) + 1)

    def forward(self, samples: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of symbols, (batch, frames, characters + 1), and how many frames are each recording's, (batch,).

        What stands after a recording's end does not change what is made of it.

        Args:
            samples: (batch, samples), where full scale is 1. lengths: of each in samples, (batch,).
        """
        chosen = self.augmentation if self.training else None
        if chosen is not None:
            samples, lengths = louder_slower(samples, lengths, chosen)
        frames = self.spectra.frames(lengths)
        hidden = normalised(self.spectra(silenced(samples[:, :, None], lengths)[:, :, 0]), frames)
        if chosen is not None:
            hidden = masked(hidden, frames, chosen)
        for convolution, norm, stride in zip(self.convolutions, self.norms, STRIDES, strict=True):
            hidden = F.gelu(norm(convolution(hidden.transpose(1, 2)).transpose(1, 2)))
            frames = torch.div(frames - 1, stride, rounding_mode="floor") + 1
            hidden = self.dropout(silenced(hidden, frames))
        for onward, back in zip(self.onward, self.back, strict=True):
            both = onward(hidden)[0], turned(back(turned(hidden, frames))[0], frames)
            hidden = self.dropout(silenced(torch.cat(both, 2), frames))
        return self.head(hidden), frames


def silenced(values: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Values, (batch, length, width), with zeros after the end of each row."""
    return values * (torch.arange(values.shape[1], device=values.device) < lengths[:, None])[:, :, None]


def turned(values: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Values, (batch, length, width), each row from its own end to its beginning."""
    places = lengths[:, None] - 1 - torch.arange(values.shape[1], device=values.device)
    rows = torch.arange(len(values), device=values.device)[:, None]
    return silenced(values[rows, places.clamp(min=0)], lengths)


def normalised(spectra: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """Each recording's spectra with a mean of 0 and a standard deviation of 1: how loud it was does not matter."""
    kept = silenced(torch.ones_like(spectra), frames)
    count = kept.sum((1, 2), keepdim=True)
    centred = (spectra - (spectra * kept).sum((1, 2), keepdim=True) / count) * kept
    return centred / ((centred.square().sum((1, 2), keepdim=True) / count).sqrt() + 1e-3)


def louder_slower(
    samples: torch.Tensor, lengths: torch.Tensor, chosen: Augmentation
) -> tuple[torch.Tensor, torch.Tensor]:
    """The batch at another speed and with noise of another loudness for each recording."""
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
    """Spectra with spans of frames and of bands set to their mean, 0."""
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
    """A span of each example, of up to `most` places that begins anywhere in `room`, set to 0 along an axis."""
    draws = torch.rand(2, len(spectra), device=spectra.device)
    width = draws[0] * most
    begin = draws[1] * (room - width).clamp(min=0)
    places = places.to(spectra.device)
    is_kept = (places < begin[:, None]) | (places >= (begin + width)[:, None])
    return spectra * is_kept.unsqueeze(3 - axis)
