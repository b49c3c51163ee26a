"""A classifier on held-out examples: accuracy, ROC AUC, cross-entropy, calibration and the confusion matrix."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, roc_auc_score

from modelmill.champion.comparison import rows
from modelmill.measures.evaluation_result import Baseline, EvaluationResult

BINS = 15


def measure(
    classes: Sequence[str],
    truth: np.ndarray,
    probabilities: np.ndarray,
    ids: np.ndarray,
    training_ids: np.ndarray,
    slices: Sequence[list[str]] | None = None,
) -> EvaluationResult:
    """Return metrics, rows, `confusion.json` (its rows are the truth) and `calibration.json`.

    The loss is in mean nats an example.

    Args:
        classes: Names of the classes.
        truth: Numbers of the true classes, int64, (examples,).
        probabilities: Predicted probabilities, (examples, classes).
        ids: Identities of the examples, uint64, (examples,), equal for equal examples.
        training_ids: Identities of the training split: a held-out example among them is marked as contaminated.
        slices: Names of the slices that each example is in, beside that of its label.
    """
    probabilities = probabilities.astype(np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    labels = np.arange(len(classes))
    scores = probabilities[:, 1] if len(labels) == 2 else probabilities
    confidence, predicted = probabilities.max(axis=1), probabilities.argmax(axis=1)
    calibration = reliability(confidence, predicted == truth)
    metrics = {
        "accuracy": float(accuracy_score(truth, predicted)),
        "roc_auc": float(roc_auc_score(truth, scores, multi_class="ovr", labels=labels)),
        "loss": float(log_loss(truth, probabilities, labels=labels)),
        "ece": expected_calibration_error(calibration),
    }
    confusion = confusion_matrix(truth, predicted, labels=labels).tolist()
    files = {"confusion.json": {"classes": list(classes), "matrix": confusion}, "calibration.json": calibration}
    table = _rows(classes, truth, probabilities, ids, set(training_ids.tolist()), slices)
    return EvaluationResult(metrics, table, files)


def shares(training: np.ndarray, truth: np.ndarray, classes: int, value: float) -> Baseline:
    """Return the baseline of always predicting the classes' shares in training.

    Args:
        training: Labels of the training split, int64.
        truth: Labels of the held-out split, int64.
        classes: Number of classes.
        value: The model's loss on the held-out split, in nats.
    """
    counts = np.bincount(training, minlength=classes)
    loss = -float(np.log(counts / counts.sum())[truth].mean())
    return Baseline("loss", "the shares of the classes", value, most=loss)


def reliability(confidence: np.ndarray, correct: np.ndarray) -> list[dict[str, float]]:
    """Return rows, mean confidence and accuracy of each of `BINS` equal bins of confidence, without empty ones.

    Args:
        confidence: Probability of the predicted class, (examples,).
        correct: Whether the prediction is right, bool, (examples,).
    """
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return [
        {
            "rows": int((bins == number).sum()),
            "confidence": float(confidence[bins == number].mean()),
            "accuracy": float(correct[bins == number].mean()),
        }
        for number in np.unique(bins)
    ]


def expected_calibration_error(bins: list[dict[str, float]]) -> float:
    """Return the distance of accuracy from confidence, averaged over rows.

    Guo et al., 2017, https://arxiv.org/abs/1706.04599.
    """
    total = sum(one["rows"] for one in bins)
    return math.fsum(one["rows"] * abs(one["accuracy"] - one["confidence"]) for one in bins) / total


def _rows(
    classes: Sequence[str],
    truth: np.ndarray,
    probabilities: np.ndarray,
    ids: np.ndarray,
    trained_on: set[int],
    slices: Sequence[list[str]] | None,
) -> list[dict[str, Any]]:
    names = rows.unique_ids(f"{one:016x}" for one in ids.tolist())
    predicted = probabilities.argmax(axis=1)
    return [
        {
            "example": name,
            "set": "rows",
            "model": "after",
            "slices": [f"label={classes[label]}", *(slices[number] if slices else [])],
            "loss": -math.log(max(probabilities[number, label], np.finfo(np.float64).tiny)),
            "weight": 1.0,
            "label": classes[label],
            "prediction": classes[predicted[number]],
            "confidence": float(probabilities[number, predicted[number]]),
            "correct": bool(predicted[number] == label),
            "contaminated": int(ids[number]) in trained_on,
        }
        for number, (name, label) in enumerate(zip(names, truth.tolist(), strict=True))
    ]
