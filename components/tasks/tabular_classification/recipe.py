"""The recipe of a classifier on the columns of a table."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from components.common.measure import ACCURACY, LOSS
from components.common.recipe import sections
from components.common.recipe.sections import Bound, Comparison, Evaluation, Preparation, Section


class TabularPreprocessing(Preparation):
    """`features` are numeric columns, standardised by the training split's mean and deviation; `label` is the class."""

    features: list[str] = Field(min_length=1)
    label: str


class MLPModel(Section):
    """A multilayer perceptron with these hidden layers; one output for two classes, else one a class."""

    hidden: list[Annotated[int, Field(ge=1)]] = [10]
    activation: Literal["sigmoid", "relu", "gelu", "tanh"] = "sigmoid"
    dropout: float = Field(default=0.0, ge=0, lt=1)


class TabularGate(Section):
    """Thresholds; `roc_auc` is for two classes, or one against the rest averaged over the classes; `ece` is the
    expected calibration error.
    """

    accuracy: Bound | None = None
    roc_auc: Bound | None = None
    loss: Bound | None = None
    ece: Bound | None = None


class TabularComparison(Comparison):
    """`metric` is what the models are compared by."""

    metric: Literal["loss", "accuracy"] = "loss"


class TabularEvaluation(Evaluation):
    """`baseline` is the shares of the classes in the training split, and logistic regression."""

    gate: TabularGate = TabularGate()
    comparison: TabularComparison | None = TabularComparison()


class Recipe(sections.Recipe):
    """A table in; standardisation and an MLP out."""

    task: Literal["tabular_classification"]
    preprocessing: TabularPreprocessing
    model: MLPModel = MLPModel()
    evaluation: TabularEvaluation = TabularEvaluation()

    measures: ClassVar = {"loss": LOSS, "accuracy": ACCURACY}
