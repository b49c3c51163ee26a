"""A network from characters to spectra, all frames at once.

As in FastSpeech (Ren et al., 2019, https://arxiv.org/abs/1905.09263), each character is repeated for its duration in
frames. Convolutions take the place of Transformers, and durations are those that training finds as Glow-TTS does (see
`alignment`).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from modelmill.models.speech.spectra import LogMel, silenced

WINDOW_SECONDS, HOP_SECONDS = 0.05, 0.0125
KERNEL = 5
# The symbol before and after a text, for silence; characters are numbered from 1.
BOUNDARY = 0
# Brings log-mel spectra near a mean of 0 and a deviation of 1.
MEAN, DEVIATION = -7.0, 3.0


class ConvolutionBlock(nn.Module):
    """A convolution with a residual connection."""

    def __init__(self, width: int, dropout: float) -> None:
        """Build the block with random weights.

        Args:
            width: Channels of the input and of the output.
            dropout: Share of the values that are dropped in training.
        """
        super().__init__()
        self.convolution = nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return the hidden states after the block, (batch, length, width), 0 beyond each end.

        Args:
            hidden: (batch, length, width).
            lengths: Length of each example, (batch,).
        """
        convolved = self.convolution(hidden.transpose(1, 2)).transpose(1, 2)
        return silenced(hidden + self.dropout(F.gelu(self.norm(convolved))), lengths)


def owners(durations: torch.Tensor) -> torch.Tensor:
    """Return the symbol of each frame: int64, (batch, most frames).

    Args:
        durations: Frames of each symbol, int64, (batch, symbols).
    """
    ends = durations.cumsum(1)
    frames = torch.arange(int(ends[:, -1].max()), device=durations.device).repeat(len(durations), 1)
    return torch.searchsorted(ends, frames, right=True).clamp(max=durations.shape[1] - 1)


def framed(numbers: torch.Tensor) -> torch.Tensor:
    """Return the symbols of texts, BOUNDARY around and after each: int64, (..., characters + 2).

    Args:
        numbers: Numbers of the characters in the alphabet, int64, (..., characters); negative after a text's end.
    """
    return F.pad((numbers + 1).clamp(min=BOUNDARY), (1, 1), value=BOUNDARY)


class Synthesiser(nn.Module):
    """A speech synthesiser that makes log-mel spectra."""

    def __init__(self, config: dict[str, Any], dropout: float = 0.0) -> None:
        """Build the network with random weights.

        Args:
            config: `sample_rate` in Hz, `alphabet`, and the recipe's model.
            dropout: Share of the values that are dropped in training.
        """
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
        """Return the normalised spectra that the network learns to make: (batch, frames, mels).

        Args:
            samples: Recordings of the texts, float32, (batch, samples).
        """
        spectra: torch.Tensor = self.spectra(samples)
        return (spectra - MEAN) / DEVIATION

    def read(self, symbols: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return the hidden states of texts, (batch, symbols, width).

        Args:
            symbols: int64, (batch, symbols), with BOUNDARY around each text.
            lengths: Symbols of each text, (batch,).
        """
        hidden = silenced(self.embedding(symbols), lengths)
        for block in self.encoder:
            hidden = block(hidden, lengths)
        return hidden

    def log_durations(self, hidden: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return the logarithms of durations in frames, (batch, symbols).

        Their gradient does not reach the encoder.

        Args:
            hidden: See `read`.
            lengths: Symbols of each text, (batch,).
        """
        hidden = hidden.detach()
        for block in self.duration:
            hidden = block(hidden, lengths)
        logarithms: torch.Tensor = self.frames(hidden).squeeze(2)
        return logarithms

    def speak(self, hidden: torch.Tensor, durations: torch.Tensor) -> torch.Tensor:
        """Return normalised spectra, (batch, most frames, mels).

        Args:
            hidden: See `read`.
            durations: Frames of each symbol, int64, (batch, symbols).
        """
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
        """Return the log-mel spectra of one text, (frames, mels).

        Args:
            symbols: int64, (symbols,), with BOUNDARY around them.
        """
        lengths = torch.tensor([len(symbols)], device=symbols.device)
        hidden = self.read(symbols[None], lengths)
        durations = self.log_durations(hidden, lengths).exp().round().long().clamp(min=1, max=100)
        return self.speak(hidden, durations)[0] * DEVIATION + MEAN
