"""Logistic regression as the baseline of a classifier: what a linear model makes of the same labels."""

import warnings
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from modelmill.measures.evaluation_result import Baseline

Split = tuple[np.ndarray, np.ndarray]
# Candidates for the inverse strength of regularisation; the validation split decides.
STRENGTHS = (0.01, 0.1, 1.0, 10.0)


class Labelled(NamedTuple):
    """Features, (examples, features), and numbers of the classes, int64, (examples,), of each split."""

    training: Split
    validation: Split
    test: Split


def logistic_regression(what: str, data: Labelled, classes: int, metrics: dict[str, float]) -> tuple[Baseline, ...]:
    """Return the loss and the accuracy to beat: those of the strength with the lowest validation loss.

    Args:
        what: The features, in words.
        data: Features and labels of each split.
        classes: Number of classes.
        metrics: The model's `loss` and `accuracy`.
    """
    tried = []
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=300)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(*data.training)
        tried.append((_measure(model, data.validation, classes)[0], _measure(model, data.test, classes)))
    _, (loss, accuracy) = min(tried)
    name = f"logistic regression on {what}"
    return (
        Baseline("loss", name, metrics["loss"], most=loss),
        Baseline("accuracy", name, metrics["accuracy"], least=accuracy),
    )


def _measure(model: LogisticRegression, labelled: Split, classes: int) -> tuple[float, float]:
    """Return the mean loss in nats, and the accuracy."""
    features, truth = labelled
    probabilities = model.predict_proba(features)
    loss = log_loss(truth, probabilities, labels=np.arange(classes))
    return float(loss), float((model.classes_[probabilities.argmax(axis=1)] == truth).mean())
