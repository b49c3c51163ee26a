"""How recipes of classifiers judge a model."""

from typing import Literal

from pydantic import Field

from modelmill.recipe.measure import ACCURACY, LOSS, Measure
from modelmill.recipe.sections import Bound, Comparison, Section

MEASURES: dict[str, Measure] = {"loss": LOSS, "accuracy": ACCURACY}


class ClassifierGate(Section):
    """Thresholds of a classifier's metrics on the test split."""

    accuracy: Bound | None = Field(default=None, description="Fraction of the examples whose class is right.")
    roc_auc: Bound | None = Field(
        default=None,
        description="Area under the ROC curve; of more than two classes, the mean of each against the rest.",
    )
    loss: Bound | None = Field(default=None, description="Mean cross-entropy, in nats.")
    ece: Bound | None = Field(default=None, description="Expected calibration error, from 0 (best) to 1.")


class ClassifierComparison(Comparison):
    """How a classifier is compared with the champion."""

    metric: Literal["loss", "accuracy"] = "loss"
