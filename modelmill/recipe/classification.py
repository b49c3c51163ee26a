"""How recipes of classifiers judge a model."""

from typing import Literal

from modelmill.recipe.measure import ACCURACY, LOSS, Measure
from modelmill.recipe.sections import Bound, Comparison, Section

MEASURES: dict[str, Measure] = {"loss": LOSS, "accuracy": ACCURACY}


class ClassifierGate(Section):
    """Thresholds; `roc_auc` is for two classes, or one against the rest averaged over the classes; `ece` is the
    expected calibration error.
    """

    accuracy: Bound | None = None
    roc_auc: Bound | None = None
    loss: Bound | None = None
    ece: Bound | None = None


class ClassifierComparison(Comparison):
    """`metric` is what the models are compared by."""

    metric: Literal["loss", "accuracy"] = "loss"
