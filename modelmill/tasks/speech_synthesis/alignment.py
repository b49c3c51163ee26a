"""Alignment of frames with symbols: monotonic alignment search (Kim et al., 2020, https://arxiv.org/abs/2005.11129)."""

import numpy as np


def search(scores: np.ndarray, symbols: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Return the durations of symbols in the most likely alignment: frames of each, int64, (batch, longest text).

    The alignment keeps the symbols' order and gives each a frame at least; durations beyond a text's end are 0.

    Args:
        scores: Log-likelihood of each frame under each symbol, (batch, longest text, most frames).
        symbols: Symbols of each text, (batch,).
        frames: Frames of each recording, (batch,), never fewer than symbols.
    """
    batch, longest, most = scores.shape
    best = np.full((batch, longest), -np.inf)
    best[:, 0] = scores[:, 0, 0]
    came = np.zeros((batch, longest, most), bool)  # whether the previous frame belongs to the previous symbol
    for frame in range(1, most):
        before = np.concatenate([np.full((batch, 1), -np.inf), best[:, :-1]], axis=1)
        came[:, :, frame] = before > best
        best = np.maximum(before, best) + scores[:, :, frame]
    durations = np.zeros((batch, longest), np.int64)
    rows, at = np.arange(batch), symbols - 1
    for frame in range(most - 1, -1, -1):
        is_own = frame < frames
        durations[rows[is_own], at[is_own]] += 1
        # As many symbols as frames are left: each has one.
        at = at - (is_own & (at > 0) & (came[rows, at, frame] | (at == frame)))
    return durations
