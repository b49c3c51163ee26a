"""Recordings in WAV, FLAC and MP3: their measures for the data contract, and their samples."""

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import soundfile

from modelmill.data.media.unusable import Unusable

# What is measured of each recording, beside the columns of every file, by the names of its pyarrow types.
COLUMNS = {
    "sample_rate": "int64",
    "channels": "int64",
    "seconds": "double",
    "peak": "double",
    "rms": "double",
    "clipped": "double",
    "silent": "double",
}
# What a small file may expand to, in samples of all channels: 4.6 hours of one channel at 16 kHz.
MAX_SAMPLES = 1 << 28
SILENCE = 10 ** (-60 / 20)  # amplitude of -60 dBFS
WINDOWS_PER_SECOND = 50
_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24}
HIGHEST_RATE = 768_000
# Samples that are held in memory at once.
_BLOCK = 1 << 20
_UNKNOWN_SIZE = 0xFFFFFFFF


def measure(data: bytes) -> dict[str, Any]:
    """Return the columns of a recording.

    Args:
        data: Bytes of the file.

    Returns:
        `sample_rate` in Hz; `channels`; `seconds`; `peak` and `rms` of the samples of all channels, where full scale is
        1; `clipped`, the share of samples at full scale; and `silent`, the share of windows of 20 ms whose RMS is under
        -60 dBFS.

    Raises:
        Unusable: It is not WAV, FLAC or MP3, is cut off or broken, has no samples or too many, or some are not finite.
    """
    with _open(data) as file:
        window = max(file.samplerate // WINDOWS_PER_SECOND, 1)
        # The largest integer is a little less than the magnitude of the least.
        full = 1 - 2.0 ** (1 - _BITS[file.subtype]) if file.subtype in _BITS else 1.0
        peak = squares = 0.0
        frames = clipped = silent = windows = 0
        for block in _blocks(file, window):
            sizes = np.abs(block)
            peak = max(peak, float(sizes.max()))
            clipped += int((sizes >= full).sum())
            energies = np.square(block, dtype=np.float64).mean(axis=1)
            squares += float(energies.sum())
            starts = np.arange(0, len(block), window)
            means = np.add.reduceat(energies, starts) / np.diff([*starts, len(block)])
            silent += int((means < SILENCE**2).sum())
            windows += len(means)
            frames += len(block)
        rms = float(np.sqrt(squares / frames))
        shares = (clipped / (frames * file.channels), silent / windows)
        values = (file.samplerate, file.channels, frames / file.samplerate, peak, rms, *shares)
    return dict(zip(COLUMNS, values, strict=True))


def decode(data: bytes, rate: int, resample: bool = False, met: set[int] | None = None) -> np.ndarray:
    """Return a recording as one channel, the mean of all: float32, (samples,), where full scale is 1.

    Args:
        data: Bytes of the file.
        rate: Wanted sample rate in Hz.
        resample: Whether a recording of another rate is resampled, by the SoX Resampler
            (https://sourceforge.net/projects/soxr), or refused.
        met: Gets the recording's own rate.

    Raises:
        Unusable: As `measure`, or it has another rate and is not to be resampled.
    """
    with _open(data) as file:
        known = file.samplerate
        if met is not None:
            met.add(known)
        if known != rate and not resample:
            raise Unusable(f"its sample rate is {known} Hz, not {rate} Hz; resample it or let it be resampled")
        samples = np.concatenate([block.mean(axis=1) for block in _blocks(file)])
    if known != rate:
        if len(samples) * rate > MAX_SAMPLES * known:
            raise Unusable(f"at {rate} Hz more than {MAX_SAMPLES:,} samples; cut it into parts")
        import soxr

        samples = soxr.resample(samples, known, rate)
    return samples.astype(np.float32, copy=False)


def encode(samples: np.ndarray, rate: int) -> bytes:
    """Return one channel as a WAV of 16 bits; samples beyond full scale are clipped.

    Args:
        samples: Floats, (samples,), where full scale is 1.
        rate: Sample rate in Hz.
    """
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format="WAV", subtype="PCM_16")
    return stream.getvalue()


def _blocks(file: soundfile.SoundFile, window: int = 1) -> Iterator[np.ndarray]:
    """Yield all samples in blocks of whole windows, at least one: float32, (frames, channels)."""
    frames = max(_BLOCK // (window * file.channels), 1) * window
    read = 0
    while len(block := file.read(frames, dtype="float32", always_2d=True)):
        read += len(block)
        if read * file.channels > MAX_SAMPLES:
            raise Unusable(f"more than {MAX_SAMPLES:,} samples; cut it into parts")
        if not np.isfinite(block).all():
            raise Unusable("some samples are not finite numbers")
        yield block
    if read < file.frames < _UNKNOWN_SIZE:
        raise Unusable(f"cut off: {read:,} of {file.frames:,} samples are there")
    if not read:
        raise Unusable("no samples")


@contextmanager
def _open(data: bytes) -> Iterator[soundfile.SoundFile]:
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        _refuse_cut(data)
    elif data[:4] != b"fLaC" and not _is_mp3(data):
        raise Unusable("not WAV, FLAC or MP3")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if not 0 < file.samplerate <= HIGHEST_RATE:
                raise Unusable(f"broken (a sample rate of {file.samplerate:,} Hz)")
            yield file
    except soundfile.LibsndfileError as error:
        raise Unusable(f"broken ({error.error_string.rstrip('.')})") from None


def _is_mp3(data: bytes) -> bool:
    """Return whether the file begins with a tag or with a frame of MPEG audio."""
    return data[:3] == b"ID3" or (len(data) > 1 and data[0] == 0xFF and data[1] & 0xE6 == 0xE2)


def _refuse_cut(data: bytes) -> None:
    """Refuse a WAV that is shorter than its `data` chunk says: libsndfile takes what is there for all of it."""
    place = 12
    while place + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, place)
        if name == b"data" and size not in (0, _UNKNOWN_SIZE) and place + 8 + size > len(data):
            raise Unusable(f"cut off: {len(data) - place - 8:,} of {size:,} bytes of samples are there")
        if name == b"data":
            return
        place += 8 + size + size % 2
