"""Held-out rows: accuracy, ROC AUC, cross-entropy and the confusion matrix, through scikit-learn."""

from typing import Any

import numpy as np
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, roc_auc_score

from components.common.step import Step
from components.evaluation.step import FINE_TUNED
from components.training import stage


@torch.no_grad()
def evaluate(step: Step, task: Any) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics and `confusion.json` (rows are the truth); the loss is mean nats per row."""
    model = task.load(stage.fetch_model(step, step.inputs[FINE_TUNED])).eval()
    rows = task.examples("fine_tuning", "test")
    batch = rows.batch(np.arange(len(rows)))
    probabilities = task.probabilities(model, batch).double().numpy()
    truth = batch["labels"].numpy()
    predicted = probabilities.argmax(axis=1)
    labels = np.arange(len(task.classes))
    scores = probabilities[:, 1] if len(labels) == 2 else probabilities
    metrics = {
        "accuracy": float(accuracy_score(truth, predicted)),
        "roc_auc": float(roc_auc_score(truth, scores, multi_class="ovr", labels=labels)),
        "loss": float(log_loss(truth, probabilities / probabilities.sum(axis=1, keepdims=True), labels=labels)),
    }
    matrix = confusion_matrix(truth, predicted, labels=labels).tolist()
    return metrics, {"confusion.json": {"classes": task.classes, "matrix": matrix}}
