"""The recipe of a detector of objects in pictures."""

from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from modelmill.recipe import sections
from modelmill.recipe.measure import LOSS, Measure
from modelmill.recipe.sections import Bound, Comparison, Evaluation, Preparation, Section

# Sides of pictures are multiples of the network's coarsest cell.
Side = Field(ge=16, le=1024, multiple_of=8)


class PicturePreprocessing(Preparation):
    """`boxes` and `labels` are columns with a list for each picture: left, top, right and bottom in pixels of each
    object, and its class. A picture with one label and no box is a picture of a single object, for pretraining.

    A picture is scaled so that its longer side fills `size` pixels (that of a single object `single_size`), and the
    rest is grey. One that would have to be enlarged, a label that is not in `classes`, and a box that has no area or is
    not in the picture are refused, or the picture is left out (`drop`).
    """

    boxes: str = "boxes"
    labels: str = "labels"
    classes: list[str] = Field(min_length=1)
    size: int = Side
    single_size: int = Side
    small: Literal["refuse", "drop", "enlarge"] = "refuse"
    unknown_label: Literal["refuse", "drop"] = "refuse"
    bad_box: Literal["refuse", "drop"] = "refuse"

    @field_validator("classes")
    @classmethod
    def _differ(cls, classes: list[str]) -> list[str]:
        if twice := [name for name in classes if classes.count(name) > 1]:
            raise ValueError(f"{twice[0]!r} is there twice")
        return classes


class DetectorModel(Section):
    """`width` is the number of channels of the first layer; those after it have up to four times as many. `dropout` is
    of whole channels before the heads.
    """

    type: Literal["centers"] = "centers"
    width: int = Field(default=24, ge=8, multiple_of=8)
    dropout: float = Field(default=0.1, ge=0, lt=1)


class DetectionGate(Section):
    """Thresholds; `map50` is the mean average precision at an IoU of 0.5, `f1` the mean over pictures."""

    map50: Bound | None = None
    f1: Bound | None = None
    loss: Bound | None = None


class DetectionComparison(Comparison):
    """`metric` is what the models are compared by."""

    metric: Literal["f1", "loss"] = "f1"


class DetectionEvaluation(Evaluation):
    """A box counts as found from the probability `confidence` on, in `f1`, in the report and in serving. `baseline`:
    `map50` must reach what trivial detectors do. `samples` pictures are shown.
    """

    gate: DetectionGate = DetectionGate()
    comparison: DetectionComparison | None = DetectionComparison()
    confidence: float = Field(default=0.3, gt=0, lt=1)
    samples: int = Field(default=12, ge=0, le=100)


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
