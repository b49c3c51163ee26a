"""A baseline that learns nothing: a Wiener filter by the noise that is estimated in each recording."""

import numpy as np
from scipy import signal

WINDOW_SECONDS = 0.032
# The quantile of a frequency's powers over frames that estimates its noise; the filter's least gain; and how slowly the
# signal-to-noise ratio follows (Ephraim and Malah, 1984, https://doi.org/10.1109/TASSP.1984.1164453, equation 51).
QUIET, LEAST, SMOOTHING = 0.2, 0.1, 0.95


def enhance(samples: np.ndarray, rate: int) -> np.ndarray:
    """Return the recording with less noise: float, (samples,).

    Args:
        samples: float, (samples,).
        rate: Sample rate in Hz.
    """
    size = 4 * round(WINDOW_SECONDS * rate / 4)
    _, _, spectrum = signal.stft(samples, rate, nperseg=size, noverlap=3 * size // 4)
    power = np.abs(spectrum) ** 2
    quiet = np.quantile(power, QUIET, axis=1, keepdims=True)
    # Powers of noise are exponentially distributed: this is the ratio of their mean to the quantile.
    noise = np.maximum(quiet / -np.log1p(-QUIET), 1e-12)
    filtered, kept = np.empty_like(spectrum), np.zeros(len(power))
    for frame in range(power.shape[1]):
        now = power[:, frame] / noise[:, 0]
        ratio = SMOOTHING * kept + (1 - SMOOTHING) * np.maximum(now - 1, 0)
        gain = np.maximum(ratio / (1 + ratio), LEAST)
        kept = gain**2 * now
        filtered[:, frame] = gain * spectrum[:, frame]
    _, made = signal.istft(filtered, rate, nperseg=size, noverlap=3 * size // 4)
    enhanced = np.zeros(len(samples))
    enhanced[: len(made)] = made[: len(samples)]
    return enhanced
