"""Held-out rows: accuracy, ROC AUC, cross-entropy, calibration and the confusion matrix, through scikit-learn."""

import math
from typing import Any

import numpy as np
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, roc_auc_score

from components.common.comparison import rows
from components.common.step import Step
from components.evaluation.measured import Baseline, Measured
from components.evaluation.step import FINE_TUNED
from components.training import stage

BINS = 15


@torch.no_grad()
def evaluate(step: Step, task: Any) -> Measured:
    """Metrics, rows, `confusion.json` (rows are the truth) and `calibration.json`; the loss is mean nats per row."""
    model = task.load(stage.fetch_model(step, step.inputs[FINE_TUNED])).eval()
    held_out = task.examples("fine_tuning", "test")
    batch = held_out.batch(np.arange(len(held_out)))
    probabilities = task.probabilities(model, batch).double().numpy()
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    truth = batch["labels"].numpy()
    labels = np.arange(len(task.classes))
    scores = probabilities[:, 1] if len(labels) == 2 else probabilities
    confidence, predicted = probabilities.max(axis=1), probabilities.argmax(axis=1)
    calibration = reliability(confidence, predicted == truth)
    metrics = {
        "accuracy": float(accuracy_score(truth, predicted)),
        "roc_auc": float(roc_auc_score(truth, scores, multi_class="ovr", labels=labels)),
        "loss": float(log_loss(truth, probabilities, labels=labels)),
        "ece": expected_calibration_error(calibration),
    }
    files = {
        "confusion.json": {
            "classes": task.classes,
            "matrix": confusion_matrix(truth, predicted, labels=labels).tolist(),
        },
        "calibration.json": calibration,
    }
    baseline = _shares(task, truth, metrics["loss"]) if step.recipe.evaluation.baseline else None
    return Measured(metrics, _rows(task, held_out, truth, probabilities), files, baseline)


def reliability(confidence: np.ndarray, correct: np.ndarray) -> list[dict[str, float]]:
    """Of each of `BINS` equal bins of confidence that is not empty: rows, mean confidence and accuracy."""
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
    """How far accuracy is from confidence, averaged over rows (Guo et al., 2017, https://arxiv.org/abs/1706.04599)."""
    total = sum(one["rows"] for one in bins)
    return math.fsum(one["rows"] * abs(one["accuracy"] - one["confidence"]) for one in bins) / total


def _rows(task: Any, held_out: Any, truth: np.ndarray, probabilities: np.ndarray) -> list[dict[str, Any]]:
    trained_on = set(task.examples("fine_tuning", "train").ids.tolist())
    ids = rows.unique_ids(f"{one:016x}" for one in held_out.ids.tolist())
    predicted = probabilities.argmax(axis=1)
    return [
        {
            "example": example,
            "set": "rows",
            "model": "after",
            "slices": [f"label={task.classes[label]}"],
            "loss": -math.log(max(probabilities[number, label], np.finfo(np.float64).tiny)),
            "weight": 1.0,
            "label": task.classes[label],
            "prediction": task.classes[predicted[number]],
            "confidence": float(probabilities[number, predicted[number]]),
            "correct": bool(predicted[number] == label),
            "contaminated": int(held_out.ids[number]) in trained_on,
        }
        for number, (example, label) in enumerate(zip(ids, truth.tolist(), strict=True))
    ]


def _shares(task: Any, truth: np.ndarray, value: float) -> Baseline:
    """The loss of always saying how frequent each class is in training."""
    counts = np.bincount(task.examples("fine_tuning", "train").labels, minlength=len(task.classes))
    loss = -float(np.log(counts / counts.sum())[truth].mean())
    return Baseline("loss", "the shares of the classes", value, most=loss)
