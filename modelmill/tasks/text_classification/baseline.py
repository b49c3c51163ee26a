"""A baseline that ignores the order of words: logistic regression on the TF-IDF of words or characters."""

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from modelmill.measures.evaluation_result import Baseline

Labelled = tuple[list[str], np.ndarray]
# Inverse strengths of regularisation; the validation split chooses one.
STRENGTHS = (1.0, 10.0, 100.0)
FEATURES: dict[str, dict[str, Any]] = {
    "words": {"token_pattern": r"(?u)\b\w+\b"},
    "characters": {"analyzer": "char_wb", "ngram_range": (1, 3)},
}


def of_words(
    training: Labelled, validation: Labelled, test: Labelled, classes: int, metrics: dict[str, float]
) -> list[Baseline]:
    """Return the loss and the accuracy to beat: those of the features and strength with the lowest validation loss.

    Args:
        training: Texts, and numbers of their classes.
        validation: Likewise.
        test: Likewise.
        classes: How many classes there are.
        metrics: The model's `loss` and `accuracy`.
    """
    best, tried = np.inf, ("", 0.0, 0.0)
    for name, settings in FEATURES.items():
        vectorizer = TfidfVectorizer(sublinear_tf=True, **settings)
        known = vectorizer.fit_transform(training[0])
        for strength in STRENGTHS:
            model = LogisticRegression(C=strength, max_iter=300)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(known, training[1])
            if (loss := _measure(vectorizer, model, validation, classes)[0]) < best:
                best, tried = loss, (name, *_measure(vectorizer, model, test, classes))
    name, loss, accuracy = tried
    what = f"TF-IDF of {name} and logistic regression"
    return [
        Baseline("loss", what, metrics["loss"], most=loss),
        Baseline("accuracy", what, metrics["accuracy"], least=accuracy),
    ]


def _measure(vectorizer: Any, model: Any, labelled: Labelled, classes: int) -> tuple[float, float]:
    """Return the mean loss in nats, and the accuracy."""
    texts, truth = labelled
    probabilities = model.predict_proba(vectorizer.transform(texts))
    loss = log_loss(truth, probabilities, labels=np.arange(classes))
    return float(loss), float((model.classes_[probabilities.argmax(axis=1)] == truth).mean())
