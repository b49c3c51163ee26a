"""What networks hear of samples: log-mel spectra; batches of recordings of any length."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

WINDOW_SECONDS, HOP_SECONDS = 0.025, 0.01
# Of full scale's power: what lies below, some -60 dB, is silence.
FLOOR = 1e-6
# What follows the last character of a transcript in a batch.
IGNORED = -100


class LogMel(nn.Module):
    """Logarithms of the power in mel bands, of Hann windows, of 25 ms every 10 ms if not given, centred.

    The bands are triangles, evenly spaced on the mel scale from 0 to half the sample rate (Davis and Mermelstein, 1980,
    https://doi.org/10.1109/TASSP.1980.1163420; the scale is O'Shaughnessy's of 1987).

    Args:
        rate: the sample rate in Hz. bands: how many.
    """

    window: torch.Tensor
    filters: torch.Tensor

    def __init__(
        self, rate: int, bands: int, window_seconds: float = WINDOW_SECONDS, hop_seconds: float = HOP_SECONDS
    ) -> None:
        super().__init__()
        self.hop = round(rate * hop_seconds)
        length = round(rate * window_seconds)
        self.size = 1 << (length - 1).bit_length()
        self.register_buffer("window", torch.hann_window(length))
        self.register_buffer("filters", mel_filters(rate, self.size, bands))

    def frames(self, samples: torch.Tensor) -> torch.Tensor:
        """How many frames so many samples give."""
        return samples // self.hop + 1

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Float32, (batch, frames, bands), of samples, (batch, samples), where full scale is 1."""
        with torch.autocast(samples.device.type, enabled=False):
            power = self.transform(samples).abs().square().transpose(1, 2) / self.window.sum() ** 2
            return (power @ self.filters + FLOOR).log()

    def transform(self, samples: torch.Tensor) -> torch.Tensor:
        """The short-time Fourier transform: complex, (batch, frequencies, frames)."""
        window = self.window
        return torch.stft(samples, self.size, self.hop, len(window), window, pad_mode="constant", return_complex=True)

    def inverse(self, spectra: torch.Tensor) -> torch.Tensor:
        """Samples, (batch, samples), whose transform is nearest to the spectra given."""
        return torch.istft(spectra, self.size, self.hop, len(self.window), self.window)


def silenced(values: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Values, (batch, length, width), with zeros after the end of each row."""
    return values * (torch.arange(values.shape[1], device=values.device) < lengths[:, None])[:, :, None]


def mel_filters(rate: int, size: int, bands: int) -> torch.Tensor:
    """Float32, (size // 2 + 1, bands): how much of each frequency of a Fourier transform of `size` is in each band."""
    frequencies = torch.linspace(0, rate / 2, size // 2 + 1, dtype=torch.float64)
    highest = 2595 * np.log10(1 + rate / 2 / 700)
    corners = 700 * (10 ** (torch.linspace(0, highest, bands + 2, dtype=torch.float64) / 2595) - 1)
    rising = (frequencies[:, None] - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - frequencies[:, None]) / (corners[2:] - corners[1:-1])
    return torch.minimum(rising, falling).clamp(min=0).float()


class Recordings:
    """Recordings of one split of one corpus, as `preprocessing.speech` keeps them, each with its transcript.

    A batch has `samples` (float32, (batch, samples)), 0 after the end of each; `lengths` (int64, (batch,)), in samples;
    `labels` (int64, (batch, characters)), IGNORED after the end of each; and `label_lengths` (int64, (batch,)).
    """

    def __init__(self, files: dict[str, Path], split: str, corpus: str) -> None:
        prefix = f"{split}/{corpus}/"
        names = [name for name in files if name.startswith(prefix)]
        loaded = {Path(name).stem: np.load(files[name], mmap_mode="r", allow_pickle=False) for name in names}
        self.ids = loaded["ids"]
        self.samples, self.sample_offsets = loaded["samples"], loaded["sample_offsets"]
        self.labels, self.label_offsets = loaded["labels"], loaded["label_offsets"]
        self.lengths = np.diff(self.sample_offsets)
        self.split = split

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, indices: np.ndarray) -> dict[str, torch.Tensor]:
        sounds = [self.recording(index) for index in indices.tolist()]
        texts = [self.transcript(index) for index in indices.tolist()]
        return {
            "samples": _padded(sounds, torch.float32, 0) / (1 << 15),
            "lengths": torch.tensor([len(one) for one in sounds]),
            "labels": _padded(texts, torch.int64, IGNORED),
            "label_lengths": torch.tensor([len(one) for one in texts]),
        }

    def recording(self, index: int) -> np.ndarray:
        """Samples of one: int16, (samples,)."""
        found: np.ndarray = self.samples[self.sample_offsets[index] : self.sample_offsets[index + 1]]
        return found

    def sounds(self) -> list[np.ndarray]:
        """All of them: float32, (samples,), where full scale is 1."""
        return [self.recording(number).astype(np.float32) / (1 << 15) for number in range(len(self))]

    def transcript(self, index: int) -> np.ndarray:
        """The numbers of its characters: (characters,)."""
        found: np.ndarray = self.labels[self.label_offsets[index] : self.label_offsets[index + 1]]
        return found

    def describe(self, indices: np.ndarray) -> str:
        return f"recordings {', '.join(str(index) for index in indices[:5].tolist())} of the {self.split} split"


def _padded(rows: list[np.ndarray], dtype: torch.dtype, filler: int) -> torch.Tensor:
    padded = torch.full((len(rows), max(map(len, rows))), filler, dtype=dtype)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = torch.from_numpy(row.astype(np.int64))
    return padded
