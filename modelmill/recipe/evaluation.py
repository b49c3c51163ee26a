"""The section `evaluation`: when a model is good enough, and how it is compared with the champion."""

from typing import ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from modelmill.recipe.section import Section


class Bound(Section):
    """The least and the greatest value of a metric that passes the gate; one of them at least."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    min: float | None = Field(default=None, description="Least value that passes; null sets no lower bound.")
    max: float | None = Field(default=None, description="Greatest value that passes; null sets no upper bound.")

    @model_validator(mode="after")
    def _bounds_something(self) -> "Bound":
        if self.min is None and self.max is None:
            raise ValueError("needs min or max")
        return self


class Comparison(Section):
    """How a model is compared with the champion: pair by pair, on the held-out examples that both were measured on."""

    rule: Literal["non_inferior", "superior"] = Field(
        default="non_inferior",
        description="`non_inferior`: the interval of how much better the model is must not reach below minus "
        "`margin`; `superior`: it must lie above zero.",
    )
    margin: float = Field(
        default=0.01, ge=0, le=1, description="Margin of `non_inferior`, as a fraction of the champion's value."
    )
    slice_margin: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Fraction of the champion's value by which the model may be worse in a slice of the examples.",
    )
    confidence: float = Field(
        default=0.95,
        gt=0.5,
        lt=1,
        description="Confidence of the interval; in slices with Bonferroni's correction for their number.",
    )
    metric: str = Field(default="loss", description="Metric that the models are compared by.")
    minimum: int = Field(default=50, ge=2, description="Examples below which there is not enough evidence.")
    too_few: Literal["refuse", "thresholds"] = Field(
        default="refuse",
        description="What happens without enough evidence: the model is refused, or the gate's `thresholds` alone "
        "decide.",
    )
    resamples: int = Field(
        default=10_000, ge=100, le=1_000_000, description="Bootstrap samples that the interval is made from."
    )


class Evaluation(Section):
    """When a model is good enough."""

    none_words: ClassVar = ("comparison",)

    baseline: bool = Field(default=True, description="Whether the model must beat what has learned next to nothing.")
    gate: Section = Field(default=Section(), description="Thresholds of metrics; without any every model passes.")
    comparison: Comparison | None = Field(
        default=Comparison(),
        description="How the model is compared with the champion; `none`: the gate's thresholds alone decide.",
    )
