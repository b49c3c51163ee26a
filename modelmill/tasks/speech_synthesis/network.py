"""Characters into spectra, all frames at once.

As FastSpeech does (Ren et al., 2019, https://arxiv.org/abs/1905.09263), each character is repeated for as many frames
as it lasts; with convolutions for its Transformers, and durations found in training as in Glow-TTS (see `alignment`).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from modelmill.models.speech.spectra import LogMel, silenced

WINDOW_SECONDS, HOP_SECONDS = 0.05, 0.0125
KERNEL = 5
# What stands before and after a text, which is silent; characters are numbered from 1.
BOUNDARY = 0
# Brings log-mel spectra near a mean of 0 and a deviation of 1.
MEAN, DEVIATION = -7.0, 3.0


class ConvolutionBlock(nn.Module):
    """A convolution beside a way around it."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        found = self.convolution(hidden.transpose(1, 2)).transpose(1, 2)
        return silenced(hidden + self.dropout(F.gelu(self.norm(found))), lengths)


def owners(durations: torch.Tensor) -> torch.Tensor:
    """Whose each frame is: numbers of symbols, int64, (batch, most frames), of durations, int64, (batch, symbols)."""
    ends = durations.cumsum(1)
    frames = torch.arange(int(ends[:, -1].max()), device=durations.device).repeat(len(durations), 1)
    return torch.searchsorted(ends, frames, right=True).clamp(max=durations.shape[1] - 1)


def framed(numbers: torch.Tensor) -> torch.Tensor:
    """Return the symbols of texts, BOUNDARY around and after each: int64, (..., characters + 2).

    Args:
        numbers: Of characters in the alphabet, int64, (..., characters); negative after a text's end.
    """
    return F.pad((numbers + 1).clamp(min=BOUNDARY), (1, 1), value=BOUNDARY)


class Synthesiser(nn.Module):
    """Args:
    config: `sample_rate` in Hz, `alphabet`, and the recipe's model.
    """

    def __init__(self, config: dict[str, Any], dropout: float = 0.0) -> None:
        super().__init__()
        width, mels = config["hidden_size"], config["mels"]
        self.spectra = LogMel(config["sample_rate"], mels, WINDOW_SECONDS, HOP_SECONDS)
        self.embedding = nn.Embedding(len(config["alphabet"]) + 1, width)
        self.encoder = nn.ModuleList([ConvolutionBlock(width, dropout) for _ in range(config["encoder_layers"])])
        self.prior = nn.Linear(width, mels)
        self.duration = nn.ModuleList([ConvolutionBlock(width, dropout) for _ in range(2)])
        self.frames = nn.Linear(width, 1)
        self.place = nn.Linear(2, width)
        self.decoder = nn.ModuleList([ConvolutionBlock(width, dropout) for _ in range(config["decoder_layers"])])
        self.head = nn.Linear(width, mels)

    def target(self, samples: torch.Tensor) -> torch.Tensor:
        """What the network is to make of the samples' text: (batch, frames, mels)."""
        spectra: torch.Tensor = self.spectra(samples)
        return (spectra - MEAN) / DEVIATION

    def read(self, symbols: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Hidden states, (batch, symbols, width), of texts with BOUNDARY around them, int64, (batch, symbols)."""
        hidden = silenced(self.embedding(symbols), lengths)
        for block in self.encoder:
            hidden = block(hidden, lengths)
        return hidden

    def log_durations(self, hidden: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Logarithms of frames, (batch, symbols); what is learned of them does not change how texts are read."""
        hidden = hidden.detach()
        for block in self.duration:
            hidden = block(hidden, lengths)
        found: torch.Tensor = self.frames(hidden).squeeze(2)
        return found

    def speak(self, hidden: torch.Tensor, durations: torch.Tensor) -> torch.Tensor:
        """Spectra, (batch, most frames, mels), of symbols that last so many frames each, int64, (batch, symbols)."""
        owner, ends = owners(durations), durations.cumsum(1)
        total, rows = ends[:, -1], torch.arange(len(hidden), device=hidden.device)[:, None]
        length = durations[rows, owner]
        since = torch.arange(owner.shape[1], device=hidden.device) - (ends - durations)[rows, owner] + 0.5
        place = torch.stack([since / length.clamp(min=1), length / 10], 2)
        spoken = silenced(hidden[rows, owner] + self.place(place), total)
        for block in self.decoder:
            spoken = block(spoken, total)
        return silenced(self.head(spoken), total)

    def say(self, symbols: torch.Tensor) -> torch.Tensor:
        """The log-mel spectra of one text, (frames, mels).

        Args:
            symbols: int64, (symbols,), with BOUNDARY around them.
        """
        lengths = torch.tensor([len(symbols)], device=symbols.device)
        hidden = self.read(symbols[None], lengths)
        durations = self.log_durations(hidden, lengths).exp().round().long().clamp(min=1, max=100)
        return self.speak(hidden, durations)[0] * DEVIATION + MEAN
