"""A model that predicts a number: errors, and how its answers and the truth go together."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import pearsonr, spearmanr

from modelmill.champion.comparison import rows
from modelmill.measures.evaluation_result import EvaluationResult


def measure(
    truth: np.ndarray,
    predicted: np.ndarray,
    ids: np.ndarray,
    training_ids: np.ndarray,
    slices: Sequence[list[str]] | None = None,
) -> EvaluationResult:
    """Return metrics and rows: `rmse`, `mae`, `r2`, `pearson` and `spearman`; the loss is the mean squared error.

    Args:
        truth: The true numbers: float64, (examples,).
        predicted: The model's, (examples,).
        ids: Identities of the examples, uint64, (examples,), equal for equal examples.
        training_ids: Identities of the training split: a held-out example among them is marked as contaminated.
        slices: Names of the slices that each example is in.
    """
    errors = predicted.astype(np.float64) - truth
    squares = errors**2
    spread = float(((truth - truth.mean()) ** 2).mean())
    together = bool(np.ptp(truth)) and bool(np.ptp(predicted))
    metrics = {
        "rmse": float(np.sqrt(squares.mean())),
        "mae": float(np.abs(errors).mean()),
        "r2": 1 - float(squares.mean()) / spread if spread else 0.0,
        # Of an answer that is always the same there is no correlation.
        "pearson": float(pearsonr(truth, predicted).statistic) if together else 0.0,
        "spearman": float(spearmanr(truth, predicted).statistic) if together else 0.0,
        "loss": float(squares.mean()),
    }
    return EvaluationResult(metrics, _rows(truth, predicted, squares, ids, training_ids, slices), {})


def _rows(
    truth: np.ndarray,
    predicted: np.ndarray,
    squares: np.ndarray,
    ids: np.ndarray,
    training_ids: np.ndarray,
    slices: Sequence[list[str]] | None,
) -> list[dict[str, Any]]:
    seen = np.isin(ids, training_ids)
    return [
        {
            "example": name,
            "set": "rows",
            "model": "after",
            "slices": slices[number] if slices else [],
            "loss": float(squares[number]),
            "weight": 1.0,
            "label": f"{truth[number]:g}",
            "prediction": f"{predicted[number]:g}",
            "contaminated": bool(seen[number]),
        }
        for number, name in enumerate(rows.unique_ids(f"{one:016x}" for one in ids.tolist()))
    ]
