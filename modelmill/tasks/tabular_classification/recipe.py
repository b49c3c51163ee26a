"""The recipe of a classifier on the columns of a table."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from modelmill.recipe import sections
from modelmill.recipe.classification import MEASURES, ClassifierComparison, ClassifierGate
from modelmill.recipe.sections import Evaluation, Preparation, Section


class TabularPreprocessing(Preparation):
    """Which columns the model learns from and which one it learns."""

    features: list[str] = Field(
        min_length=1,
        description="Numeric columns, standardised by the training split's mean and standard deviation.",
    )
    label: str = Field(description="Column with the class.")


class MLPModel(Section):
    """A multilayer perceptron: one output for two classes, else one a class."""

    hidden: list[Annotated[int, Field(ge=1)]] = Field(
        default=[10], max_length=1024, description="Sizes of the hidden layers."
    )
    activation: Literal["sigmoid", "relu", "gelu", "tanh"] = Field(
        default="sigmoid", description="Activation function of the hidden layers."
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout in the hidden layers.")


class TabularEvaluation(Evaluation):
    """When a classifier of rows is good enough."""

    baseline: bool = Field(
        default=True,
        description="Whether `loss` must be below that of the classes' shares, and `loss` and `accuracy` must beat "
        "logistic regression.",
    )
    gate: ClassifierGate = ClassifierGate()
    comparison: ClassifierComparison | None = ClassifierComparison()


class Recipe(sections.Recipe):
    """A table in; standardisation and an MLP out."""

    task: Literal["tabular_classification"]
    preprocessing: TabularPreprocessing
    model: MLPModel = MLPModel()
    evaluation: TabularEvaluation = TabularEvaluation()

    measures: ClassVar = MEASURES
