"""What can be done without learning: a Wiener filter by noise that is tracked in each recording."""

import numpy as np
from scipy import signal

WINDOW_SECONDS = 0.032
# Noise of a frequency is what is left in the quietest part of its frames, which has less power than the mean; what the
# filter leaves at least; and how slowly the signal-to-noise ratio follows (Ephraim and Malah, 1984,
# https://doi.org/10.1109/TASSP.1984.1164453, equation 51).
QUIET, LEAST, SMOOTHING = 0.2, 0.1, 0.95


def enhance(samples: np.ndarray, rate: int) -> np.ndarray:
    """The recording with less noise: float, (samples,)."""
    size = 4 * round(WINDOW_SECONDS * rate / 4)
    _, _, spectrum = signal.stft(samples, rate, nperseg=size, noverlap=3 * size // 4)
    power = np.abs(spectrum) ** 2
    quiet = np.quantile(power, QUIET, axis=1, keepdims=True)
    # Of exponentially distributed powers, which those of noise are, the mean is so much more than the quantile.
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
