"""A classifier of examples with any number of labels: F1, exact matches, ROC AUC, cross-entropy and calibration."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from modelmill.champion.comparison import rows
from modelmill.measures import classification, found
from modelmill.measures.evaluation_result import Baseline, EvaluationResult

# The least probability of a label that an example is said to have.
THRESHOLD = 0.5
_TINY = float(np.finfo(np.float64).tiny)


def measure(
    classes: Sequence[str],
    truth: np.ndarray,
    probabilities: np.ndarray,
    ids: np.ndarray,
    training_ids: np.ndarray,
    slices: Sequence[list[str]] | None = None,
    seed: int = 0,
) -> EvaluationResult:
    """Return metrics, rows, `classes.json` and `calibration.json`.

    `f1`, `precision` and `recall` are over all labels of all examples, `macro_f1` is the mean of the labels', `text_f1`
    that of the examples'. The loss is in nats: the mean over labels of an example.

    Args:
        classes: Names of the labels.
        truth: Whether an example has a label: bool, (examples, labels).
        probabilities: Predicted probabilities, (examples, labels).
        ids: Identities of the examples, uint64, (examples,), equal for equal examples.
        training_ids: Identities of the training split: a held-out example among them is marked as contaminated.
        slices: Names of the slices that each example is in, beside those of its labels.
        seed: Seed of the intervals.
    """
    probabilities = probabilities.astype(np.float64)
    predicted = probabilities >= THRESHOLD
    counts = np.stack([truth & predicted, predicted, truth], axis=-1).astype(np.int64)
    of_examples = scores_of(counts)
    losses = losses_of(truth, probabilities)
    calibration = classification.reliability(
        np.maximum(probabilities, 1 - probabilities).ravel(), (truth == predicted).ravel()
    )
    metrics = {
        **found.rates(counts)._asdict(),
        "macro_f1": float(found.f1_of(counts.sum(axis=0)).mean()),
        "text_f1": float(of_examples.mean()),
        "accuracy": float((truth == predicted).all(axis=1).mean()),
        "roc_auc": _roc_auc(truth, probabilities),
        "loss": float(losses.mean()),
        "ece": classification.expected_calibration_error(calibration),
    }
    files = {found.FILE: found.by_class(counts, classes, seed), "calibration.json": calibration}
    table = _rows(classes, truth, predicted, of_examples, losses, ids, training_ids, slices)
    return EvaluationResult(metrics, table, files)


def scores_of(counts: np.ndarray) -> np.ndarray:
    """Return the F1 of each example; 1 where it has no label and is said to have none.

    Args:
        counts: Counts as `found` has them, (examples, labels, 3).
    """
    sums = counts.sum(axis=1)
    is_empty = sums[:, found.FOUND] + sums[:, found.TRUE] == 0
    scores: np.ndarray = np.where(is_empty, 1.0, found.f1_of(sums))
    return scores


def losses_of(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the mean binary cross-entropy over the labels of each example, in nats: float64, (examples,).

    Args:
        truth: Whether an example has a label: bool, (examples, labels).
        probabilities: Predicted probabilities, (examples, labels).
    """
    of_truth = np.where(truth, probabilities, 1 - probabilities)
    losses: np.ndarray = -np.log(np.maximum(of_truth, _TINY)).mean(axis=1)
    return losses


def shares(training: np.ndarray, truth: np.ndarray, value: float) -> Baseline:
    """Return the baseline of always predicting the labels' shares in training.

    Args:
        training: Whether a training example has a label: bool, (examples, labels).
        truth: The same of the held-out examples.
        value: The model's loss on them, in nats.
    """
    predicted = np.broadcast_to(training.mean(axis=0), truth.shape)
    return Baseline("loss", "the shares of the labels", value, most=float(losses_of(truth, predicted).mean()))


def _roc_auc(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the mean over the labels that some examples have and others have not; 0.5 without any."""
    telling = [n for n in range(truth.shape[1]) if 0 < truth[:, n].sum() < len(truth)]
    areas = [float(roc_auc_score(truth[:, n], probabilities[:, n])) for n in telling]
    return math.fsum(areas) / len(areas) if areas else 0.5


def _rows(
    classes: Sequence[str],
    truth: np.ndarray,
    predicted: np.ndarray,
    scores: np.ndarray,
    losses: np.ndarray,
    ids: np.ndarray,
    training_ids: np.ndarray,
    slices: Sequence[list[str]] | None,
) -> list[dict[str, Any]]:
    seen = np.isin(ids, training_ids)
    made = []
    for number, name in enumerate(rows.unique_ids(f"{one:016x}" for one in ids.tolist())):
        its, mine = ([classes[n] for n in np.flatnonzero(one[number]).tolist()] for one in (truth, predicted))
        labels = [f"label={label}" for label in its] or ["label=none"]
        made.append(
            {
                "example": name,
                "set": "rows",
                "model": "after",
                "slices": [*labels, *(slices[number] if slices else [])],
                "loss": float(losses[number]),
                "weight": 1.0,
                "score": float(scores[number]),
                "label": ", ".join(its),
                "prediction": ", ".join(mine),
                "correct": its == mine,
                "contaminated": bool(seen[number]),
            }
        )
    return made
