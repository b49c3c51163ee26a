"""The distance of two recordings' spectra, whatever the speed of each."""

import math

import numpy as np

DECIBELS = 10 / math.log(10)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Return the mean distance in dB along the cheapest path through two recordings: dynamic time warping.

    A step of the path is a frame of the one, of the other, or of both (Sakoe and Chiba, 1978,
    https://doi.org/10.1109/TASSP.1978.1163055). The distance of two frames is the root of the mean square over bands; a
    step costs it once, and the sum is divided by the steps.

    Args:
        one: Natural logarithms of power, (frames, bands).
        other: The same of the other recording.
    """
    apart = _apart(one.astype(np.float64), other.astype(np.float64))
    rows, columns = apart.shape
    # Diagonals, each of which needs the two before it: cost and steps by row.
    cost, steps = np.full((3, rows + 1), np.inf), np.zeros((3, rows + 1))
    for diagonal in range(rows + columns - 1):
        first, last = max(0, diagonal - columns + 1), min(rows - 1, diagonal)
        row = np.arange(first, last + 1)
        now, before, earlier = diagonal % 3, (diagonal - 1) % 3, (diagonal - 2) % 3
        ways = np.stack([cost[earlier, row], cost[before, row], cost[before, row + 1]])
        counts = np.stack([steps[earlier, row], steps[before, row], steps[before, row + 1]])
        if diagonal == 0:
            ways[0], counts[0] = 0, 0
        best = ways.argmin(0)
        cost[now], steps[now] = np.inf, 0
        cost[now, row + 1] = np.take_along_axis(ways, best[None], 0)[0] + apart[row, diagonal - row]
        steps[now, row + 1] = np.take_along_axis(counts, best[None], 0)[0] + 1
    end = (rows + columns - 2) % 3
    return float(cost[end, rows] / steps[end, rows]) * DECIBELS


def _apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    squares = (one**2).mean(1)[:, None] + (other**2).mean(1)[None] - 2 * (one @ other.T) / one.shape[1]
    return np.sqrt(np.maximum(squares, 0))
