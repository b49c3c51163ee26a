"""Which frames are whose: monotonic alignment search (Kim et al., 2020, https://arxiv.org/abs/2005.11129)."""

import numpy as np


def search(scores: np.ndarray, symbols: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """How many frames each symbol has in the most likely alignment that keeps their order and leaves none out: int64,
    (batch, longest text); 0 for what is beyond a text's end.

    Args:
        scores: log-likelihood of each frame under each symbol, (batch, longest text, most frames).
        symbols, frames: how many of each there are, (batch,); never fewer frames than symbols.
    """
    batch, longest, most = scores.shape
    best = np.full((batch, longest), -np.inf)
    best[:, 0] = scores[:, 0, 0]
    came = np.zeros((batch, longest, most), bool)  # whether the frame before is the symbol's before
    for frame in range(1, most):
        before = np.concatenate([np.full((batch, 1), -np.inf), best[:, :-1]], axis=1)
        came[:, :, frame] = before > best
        best = np.maximum(before, best) + scores[:, :, frame]
    durations = np.zeros((batch, longest), np.int64)
    rows, at = np.arange(batch), symbols - 1
    for frame in range(most - 1, -1, -1):
        is_own = frame < frames
        durations[rows[is_own], at[is_own]] += 1
        # No more frames than symbols are left: each of them has one.
        at = at - (is_own & (at > 0) & (came[rows, at, frame] | (at == frame)))
    return durations
