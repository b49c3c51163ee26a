"""What a model's outputs for held-out texts are worth, for each kind of label."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from modelmill.measures import classification, multi_label, regression
from modelmill.measures.evaluation_result import Baseline, EvaluationResult
from modelmill.tasks.text_classification import baseline
from modelmill.tasks.text_classification.kinds import MULTI, SINGLE


class Split(NamedTuple):
    """Texts of a split with their labels.

    Attributes:
        texts: The texts, or pairs of texts.
        labels: The labels, as `kinds.Labels` has them.
        ids: Identities: uint64, (texts,).
    """

    texts: Sequence[Any]
    labels: np.ndarray
    ids: np.ndarray


class Measuring:
    """The measures of one kind of label."""

    def __init__(self, kind: str, classes: list[str], seed: int) -> None:
        """Take what the corpus says.

        Args:
            kind: Kind of label.
            classes: Names of the classes, or of the number.
            seed: Seed of intervals.
        """
        self.kind, self.classes, self.seed = kind, classes, seed

    def measure(
        self, held_out: Split, training: Split, answers: np.ndarray, slices: Sequence[list[str]]
    ) -> EvaluationResult:
        """Return metrics and rows.

        Args:
            held_out: The held-out texts.
            training: Those that fine-tuning has seen.
            answers: What the model says of the held-out ones: probabilities, float64, (texts, classes), or numbers,
                (texts,).
            slices: Names of the slices that each of them is in.
        """
        ids = (held_out.ids, training.ids, slices)
        if self.kind == SINGLE:
            return classification.measure(self.classes, held_out.labels, answers, *ids)
        if self.kind == MULTI:
            return multi_label.measure(self.classes, held_out.labels.astype(bool), answers, *ids, self.seed)
        return regression.measure(held_out.labels, answers, *ids)

    def baselines(
        self, training: Split, validation: Split, held_out: Split, metrics: dict[str, float]
    ) -> tuple[Baseline, ...]:
        """Return the baselines, fitted on the labels that fine-tuning has seen.

        Args:
            training: The texts that it has seen.
            validation: Those that choose among baselines.
            held_out: The held-out ones.
            metrics: The model's metrics.
        """
        known, chosen_by, asked = ((one.texts, one.labels) for one in (training, validation, held_out))
        if self.kind == SINGLE:
            shares = classification.shares(training.labels, held_out.labels, len(self.classes), metrics["loss"])
            return (shares, *baseline.of_words(known, chosen_by, asked, len(self.classes), metrics))
        if self.kind == MULTI:
            known, chosen_by, asked = ((texts, labels.astype(bool)) for texts, labels in (known, chosen_by, asked))
            share = multi_label.shares(known[1], asked[1], metrics["loss"])
            return (share, *baseline.of_labels(known, chosen_by, asked, metrics))
        return tuple(baseline.of_numbers(known, chosen_by, asked, metrics))

    def expected(self, label: Any) -> str:
        """Return the true label of a text in words."""
        if self.kind == SINGLE:
            return self.classes[label]
        if self.kind == MULTI:
            return ", ".join(self.classes[number] for number in np.flatnonzero(label)) or "(none)"
        return f"{label:.4g}"

    def found(self, answer: Any) -> str:
        """Return what the model says of a text in words."""
        if self.kind == SINGLE:
            return f"{self.classes[answer.argmax()]} ({answer.max():.0%})"
        if self.kind == MULTI:
            places = np.flatnonzero(answer >= multi_label.THRESHOLD)
            return ", ".join(f"{self.classes[number]} ({answer[number]:.0%})" for number in places) or "(none)"
        return f"{answer:.4g}"
