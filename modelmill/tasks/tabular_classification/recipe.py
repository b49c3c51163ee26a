"""The recipe of a classifier on the columns of a table."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from modelmill.recipe import sections
from modelmill.recipe.classification import MEASURES, ClassifierComparison, ClassifierGate
from modelmill.recipe.sections import Evaluation, Preparation, Section


class TabularPreprocessing(Preparation):
    """`features` are numeric columns, standardised by the training split's mean and deviation; `label` is the class."""

    features: list[str] = Field(min_length=1)
    label: str


class MLPModel(Section):
    """A multilayer perceptron with these hidden layers; one output for two classes, else one a class."""

    hidden: list[Annotated[int, Field(ge=1)]] = [10]
    activation: Literal["sigmoid", "relu", "gelu", "tanh"] = "sigmoid"
    dropout: float = Field(default=0.0, ge=0, lt=1)


class TabularEvaluation(Evaluation):
    """`baseline` is the shares of the classes in the training split, and logistic regression."""

    gate: ClassifierGate = ClassifierGate()
    comparison: ClassifierComparison | None = ClassifierComparison()


class Recipe(sections.Recipe):
    """A table in; standardisation and an MLP out."""

    task: Literal["tabular_classification"]
    preprocessing: TabularPreprocessing
    model: MLPModel = MLPModel()
    evaluation: TabularEvaluation = TabularEvaluation()

    measures: ClassVar = MEASURES
