"""A baseline that ignores the order of words: a linear model on the TF-IDF of words or characters."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss
from sklearn.multiclass import OneVsRestClassifier

from modelmill.measures import found, multi_label
from modelmill.measures.evaluation_result import Baseline

# A text, or a pair of texts.
Text = str | Sequence[str]
Labelled = tuple[Sequence[Text], np.ndarray]
# Inverse strengths of regularisation; the validation split chooses one.
STRENGTHS = (1.0, 10.0, 100.0)
FEATURES: dict[str, dict[str, Any]] = {
    "words": {"token_pattern": r"(?u)\b\w+\b"},
    "characters": {"analyzer": "char_wb", "ngram_range": (1, 3)},
}


class Tried(NamedTuple):
    """Features with a fitted model.

    Attributes:
        name: Name of the features.
        features: Turn texts into features.
        model: The model.
    """

    name: str
    features: "Features"
    model: Any


class Features:
    """TF-IDF of texts; of pairs that of each side, and how many of their words are common."""

    def __init__(self, name: str) -> None:
        """Prepare the features of a name in `FEATURES`."""
        self.name = name
        self.sides: list[Any] = []

    def fit(self, texts: Sequence[Text]) -> Any:
        """Return the features of the texts that they are fitted on."""
        parts = _sides(texts)
        self.sides = [TfidfVectorizer(sublinear_tf=True, **FEATURES[self.name]) for _ in parts]
        return _joined([side.fit_transform(part) for side, part in zip(self.sides, parts, strict=True)], parts)

    def transform(self, texts: Sequence[Text]) -> Any:
        """Return the features of other texts."""
        parts = _sides(texts)
        return _joined([side.transform(part) for side, part in zip(self.sides, parts, strict=True)], parts)


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
    best = _best(
        training,
        lambda strength: LogisticRegression(C=strength, max_iter=300),
        lambda tried: _measure(tried, validation, classes)[0],
    )
    loss, accuracy = _measure(best, test, classes)
    what = f"TF-IDF of {best.name} and logistic regression"
    return [
        Baseline("loss", what, metrics["loss"], most=loss),
        Baseline("accuracy", what, metrics["accuracy"], least=accuracy),
    ]


def of_labels(training: Labelled, validation: Labelled, test: Labelled, metrics: dict[str, float]) -> list[Baseline]:
    """Return the loss and the F1 to beat, where texts have any number of labels; see `of_words`.

    Args:
        training: Texts, and whether they have each label, bool, (texts, labels).
        validation: Likewise.
        test: Likewise.
        metrics: The model's `loss` and `f1`.
    """

    def probabilities(tried: Tried, texts: Sequence[Text]) -> np.ndarray:
        return np.asarray(tried.model.predict_proba(tried.features.transform(texts)))

    def loss_of(tried: Tried, labelled: Labelled) -> float:
        return float(multi_label.losses_of(labelled[1], probabilities(tried, labelled[0])).mean())

    best = _best(
        (training[0], training[1].astype(int)),
        lambda strength: OneVsRestClassifier(LogisticRegression(C=strength, max_iter=300)),
        lambda tried: loss_of(tried, validation),
    )
    predicted = probabilities(best, test[0]) >= multi_label.THRESHOLD
    counts = np.stack([test[1] & predicted, predicted, test[1]], axis=-1).astype(np.int64)
    what = f"TF-IDF of {best.name} and a logistic regression a label"
    return [
        Baseline("loss", what, metrics["loss"], most=loss_of(best, test)),
        Baseline("f1", what, metrics["f1"], least=found.rates(counts).f1),
    ]


def of_numbers(training: Labelled, validation: Labelled, test: Labelled, metrics: dict[str, float]) -> list[Baseline]:
    """Return the errors to beat: of always the mean, and of ridge regression on TF-IDF; see `of_words`.

    Args:
        training: Texts and numbers.
        validation: Likewise.
        test: Likewise.
        metrics: The model's `rmse`.
    """

    def error(tried: Tried, labelled: Labelled) -> float:
        errors = tried.model.predict(tried.features.transform(labelled[0])) - labelled[1]
        return float(np.sqrt((errors**2).mean()))

    best = _best(training, lambda strength: Ridge(alpha=1 / strength), lambda tried: error(tried, validation))
    of_mean = float(np.sqrt(((test[1] - training[1].mean()) ** 2).mean()))
    what = f"TF-IDF of {best.name} and ridge regression"
    return [
        Baseline("rmse", "always the mean", metrics["rmse"], most=of_mean),
        Baseline("rmse", what, metrics["rmse"], most=error(best, test)),
    ]


def _best(training: Labelled, make: Callable[[float], Any], loss_of: Callable[[Tried], float]) -> Tried:
    """Return the features and the model with the least loss, the first of equal ones."""
    return min(_tried(training, make), key=loss_of)


def _tried(training: Labelled, make: Callable[[float], Any]) -> Iterator[Tried]:
    for name in FEATURES:
        features = Features(name)
        known = features.fit(training[0])
        for strength in STRENGTHS:
            model = make(strength)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(known, training[1])
            yield Tried(name, features, model)


def _measure(tried: Tried, labelled: Labelled, classes: int) -> tuple[float, float]:
    """Return the mean loss in nats, and the accuracy."""
    texts, truth = labelled
    probabilities = tried.model.predict_proba(tried.features.transform(texts))
    loss = log_loss(truth, probabilities, labels=np.arange(classes))
    return float(loss), float((tried.model.classes_[probabilities.argmax(axis=1)] == truth).mean())


def _sides(texts: Sequence[Text]) -> list[list[str]]:
    """Return all first texts and, of pairs, all second ones."""
    if not texts or isinstance(texts[0], str):
        return [[str(text) for text in texts]]
    return [[pair[side] for pair in texts] for side in (0, 1)]


def _joined(features: list[Any], sides: list[list[str]]) -> Any:
    if len(features) == 1:
        return features[0]
    from scipy.sparse import csr_matrix, hstack

    words = ([set(text.lower().split()) for text in side] for side in sides)
    common = [[len(one & other) / max(len(one | other), 1)] for one, other in zip(*words, strict=True)]
    return hstack([*features, csr_matrix(common)]).tocsr()
