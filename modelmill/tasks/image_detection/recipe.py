"""The recipe of a detector of objects in pictures."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from modelmill.recipe import sections
from modelmill.recipe.measure import LOSS, Measure
from modelmill.recipe.sections import Bound, Comparison, Evaluation, Preparation, Section

# Sides of pictures are multiples of the network's coarsest cell.
Side = Annotated[int, Field(ge=16, le=1024, multiple_of=8)]

# Kinds of examples: pictures with boxes, and pictures of single objects.
PICTURES, SINGLES = "pictures", "singles"


class PicturePreprocessing(Preparation):
    """How pictures become squares with boxes.

    A picture with one label and no box is one of a single object, for pretraining.
    """

    boxes: str = Field(
        default="boxes",
        description="Column with a list for each picture: left, top, right and bottom of each object, in pixels.",
    )
    labels: str = Field(default="labels", description="Column with a list for each picture: the class of each object.")
    classes: list[str] = Field(min_length=1, description="Classes that the detector knows.")
    size: Side = Field(
        description="Pixels that the longer side of a picture is scaled down to; the rest of the square is grey."
    )
    single_size: Side = Field(description="The same for pictures of single objects.")
    small: Literal["refuse", "drop", "enlarge"] = Field(
        default="refuse",
        description="What happens to a picture with both sides below its size: `refuse` stops the run, `drop` leaves "
        "it out. `predict` refuses or enlarges.",
    )
    unknown_label: Literal["refuse", "drop"] = Field(
        default="refuse",
        description="What happens to a picture with a label that is not in `classes`: `refuse` stops the run, `drop` "
        "leaves it out.",
    )
    bad_box: Literal["refuse", "drop"] = Field(
        default="refuse",
        description="What happens to a picture with a box that has no area, is not inside it or lacks its label: "
        "`refuse` stops the run, `drop` leaves it out.",
    )

    @property
    def policies(self) -> dict[str, str]:
        """Return what becomes of a picture that does not fit, by the key that says so."""
        return {"small": self.small, "unknown_label": self.unknown_label, "bad_box": self.bad_box}

    @field_validator("classes")
    @classmethod
    def _differ(cls, classes: list[str]) -> list[str]:
        if twice := [name for name in classes if classes.count(name) > 1]:
            raise ValueError(f"{twice[0]!r} is there twice")
        return classes


class DetectorModel(Section):
    """An anchor-free detector of the middles of objects."""

    type: Literal["centers"] = Field(default="centers", description="Architecture.")
    width: int = Field(
        default=24,
        ge=8,
        multiple_of=8,
        description="Channels of the first layer; later ones have up to four times as many.",
    )
    dropout: float = Field(default=0.1, ge=0, lt=1, description="Dropout of whole channels before the last layer.")


class DetectionGate(Section):
    """Thresholds of a detector's metrics on the test split."""

    map50: Bound | None = Field(
        default=None, description="Mean average precision over the classes, at an intersection over union of 0.5."
    )
    f1: Bound | None = Field(default=None, description="F1 of the boxes, averaged over pictures.")
    loss: Bound | None = Field(default=None, description="Loss, averaged over pictures.")


class DetectionComparison(Comparison):
    """How a detector is compared with the champion."""

    metric: Literal["f1", "loss"] = "f1"


class DetectionEvaluation(Evaluation):
    """When a detector is good enough, and which samples the report shows."""

    baseline: bool = Field(default=True, description="Whether `map50` must be above that of two trivial detectors.")
    gate: DetectionGate = DetectionGate()
    comparison: DetectionComparison | None = DetectionComparison()
    confidence: float = Field(
        default=0.3, gt=0, lt=1, description="Least probability of a box that counts in `f1`, is shown and is served."
    )
    samples: int = Field(default=12, ge=0, le=100, description="Pictures that the report shows.")


class Recipe(sections.Recipe):
    """Pictures in; a detector out, pretrained on pictures of single objects and fine-tuned on boxes."""

    task: Literal["image_detection"]
    preprocessing: PicturePreprocessing
    model: DetectorModel = DetectorModel()
    evaluation: DetectionEvaluation = DetectionEvaluation()

    measures: ClassVar = {"f1": Measure("score", higher_is_better=True), "loss": LOSS}

    @model_validator(mode="after")
    def _learns_boxes(self) -> "Recipe":
        if self.data.media != "images":
            raise ValueError("data.media: a detector reads images; set it to images")
        if self.fine_tuning is None:
            raise ValueError("fine_tuning: a detector learns its boxes there, it cannot be none")
        return self
