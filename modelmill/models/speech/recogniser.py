"""A network that transcribes speech, with a symbol for each 20 ms.

Convolutions over log-mel spectra and bidirectional LSTM layers, trained with CTC, as in Deep Speech 2 (Amodei et al.,
2015, https://arxiv.org/abs/1512.02595).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from modelmill.models.speech.spectra import LogMel, silenced

KERNEL, STRIDES = 5, (2, 1)
# The symbol that is no character and separates two equal ones; characters are numbered from 1.
BLANK = 0
# Recordings in a batch of `hear`.
BATCH = 32


Mask = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Recogniser(nn.Module):
    """The network."""

    def __init__(self, config: dict[str, Any], dropout: float = 0.0) -> None:
        """Build the network with random weights.

        Args:
            config: `sample_rate` in Hz, `alphabet`, `mels`, `channels`, `hidden_size` and `num_layers`.
            dropout: Share of the values that are dropped in training.
        """
        super().__init__()
        channels, hidden = config["channels"], config["hidden_size"]
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

    def forward(
        self, samples: torch.Tensor, lengths: torch.Tensor, mask: Mask | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits of symbols, (batch, frames, characters + 1), and each recording's number of frames, (batch,).

        What follows a recording's end does not change its logits.

        Args:
            samples: (batch, samples), where full scale is 1.
            lengths: Length of each recording in samples, (batch,).
            mask: Blanks parts of spectra, (batch, frames, mels), given each recording's number of frames.
        """
        frames = self.spectra.frames(lengths)
        hidden = normalised(self.spectra(silenced(samples[:, :, None], lengths)[:, :, 0]), frames)
        if mask is not None:
            hidden = mask(hidden, frames)
        for convolution, norm, stride in zip(self.convolutions, self.norms, STRIDES, strict=True):
            hidden = F.gelu(norm(convolution(hidden.transpose(1, 2)).transpose(1, 2)))
            frames = torch.div(frames - 1, stride, rounding_mode="floor") + 1
            hidden = self.dropout(silenced(hidden, frames))
        for onward, back in zip(self.onward, self.back, strict=True):
            both = onward(hidden)[0], turned(back(turned(hidden, frames))[0], frames)
            hidden = self.dropout(silenced(torch.cat(both, 2), frames))
        return self.head(hidden), frames


def turned(values: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return values, (batch, length, width), with each row reversed up to its own end.

    Args:
        values: (batch, length, width).
        lengths: Length of each row, (batch,).
    """
    places = lengths[:, None] - 1 - torch.arange(values.shape[1], device=values.device)
    rows = torch.arange(len(values), device=values.device)[:, None]
    return silenced(values[rows, places.clamp(min=0)], lengths)


def normalised(spectra: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """Return each recording's spectra with a mean of 0 and a standard deviation of 1, so that loudness does not matter.

    Args:
        spectra: (batch, frames, bands).
        frames: Number of frames of each recording, (batch,).
    """
    kept = silenced(torch.ones_like(spectra), frames)
    count = kept.sum((1, 2), keepdim=True)
    centred = (spectra - (spectra * kept).sum((1, 2), keepdim=True) / count) * kept
    return centred / ((centred.square().sum((1, 2), keepdim=True) / count).sqrt() + 1e-3)


def ctc(
    logits: torch.Tensor,
    frames: torch.Tensor,
    labels: torch.Tensor,
    label_lengths: torch.Tensor,
    smoothing: float = 0.0,
) -> torch.Tensor:
    """Return the summed loss of connectionist temporal classification in nats (Graves et al., 2006).

    https://doi.org/10.1145/1143844.1143891

    Args:
        logits: The network's logits, (batch, frames, characters + 1).
        frames: Number of frames of each recording, (batch,).
        labels: Numbers of characters, int64, (batch, characters), with any number after each transcript's end.
        label_lengths: Length of each transcript, (batch,).
        smoothing: Share of the cross-entropy with all symbols.
    """
    return alignment_loss(logits, frames, labels + 1, label_lengths, BLANK, smoothing)


def alignment_loss(
    logits: torch.Tensor,
    frames: torch.Tensor,
    symbols: torch.Tensor,
    lengths: torch.Tensor,
    blank: int,
    smoothing: float = 0.0,
) -> torch.Tensor:
    """Return the summed loss of `ctc` for symbols of any numbering.

    Args:
        logits: (batch, frames, symbols).
        frames: Number of frames of each recording, (batch,).
        symbols: Symbols of each transcript, int64, (batch, symbols), with any number after its end.
        lengths: Length of each transcript, (batch,).
        blank: The symbol that is no part of a transcript.
        smoothing: Share of the cross-entropy with all symbols.
    """
    likelihood = F.log_softmax(logits.float(), dim=2)
    # On a CPU, whatever the device: PyTorch's CTC has no deterministic gradient on a GPU.
    loss = F.ctc_loss(
        likelihood.transpose(0, 1).cpu(),
        symbols.clamp(min=0).cpu(),
        frames.cpu(),
        lengths.cpu(),
        blank=blank,
        reduction="sum",
        zero_infinity=True,  # for a recording sped up so much that its transcript no longer fits
    ).to(logits.device)
    if not smoothing:
        return loss
    return (1 - smoothing) * loss - smoothing * silenced(likelihood, frames).mean(2).sum()


@torch.no_grad()
def hear(model: Recogniser, sounds: Sequence[np.ndarray], alphabet: str) -> list[str]:
    """Return the network's transcripts of sounds, each float32, (samples,)."""
    device = next(model.parameters()).device
    transcripts = []
    for first in range(0, len(sounds), BATCH):
        some = sounds[first : first + BATCH]
        lengths = torch.tensor([len(one) for one in some], device=device)
        samples = nn.utils.rnn.pad_sequence([torch.from_numpy(one) for one in some], batch_first=True).to(device)
        logits, frames = model(samples, lengths)
        best = logits.argmax(2).cpu().numpy()
        transcripts += [read(row[:count], alphabet) for row, count in zip(best, frames.tolist(), strict=True)]
    return transcripts


def read(symbols: np.ndarray, alphabet: str) -> str:
    """Return the text of the most likely symbol of each frame, without repetitions and blanks.

    Args:
        symbols: (frames,).
        alphabet: The characters.
    """
    is_new = np.concatenate([[True], symbols[1:] != symbols[:-1]])
    return " ".join(text_of(symbols[is_new & (symbols != BLANK)] - 1, alphabet).split())


def text_of(numbers: np.ndarray, alphabet: str) -> str:
    """Return the text of numbers of characters."""
    return "".join(alphabet[number] for number in numbers.tolist())
