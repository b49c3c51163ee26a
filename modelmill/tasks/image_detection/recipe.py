"""The recipe of a detector of objects in pictures."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, Tag, field_validator, model_validator

from modelmill.recipe import sections
from modelmill.recipe.adapters import AdaptedFineTuning
from modelmill.recipe.measure import LOSS, Measure
from modelmill.recipe.pretrained import AUTO, PretrainedModel, by_type
from modelmill.recipe.sections import PROCESSOR, Bound, Comparison, Evaluation, Preparation, Section

# Sides of pictures are multiples of the network's coarsest cell.
Side = Annotated[int, Field(ge=16, le=1024, multiple_of=8)]

# Kinds of examples: pictures with boxes, and pictures of single objects.
PICTURES, SINGLES = "pictures", "singles"


class GivenProcessor(Section):
    """The image processor of a checkpoint, with which `model.type: auto` prepares pictures."""

    source: str | None = Field(
        default=None,
        alias="from",
        min_length=1,
        description="Checkpoint that the processor is taken from, named as `pretraining.init` is, and by default that "
        "one.",
    )
    size: int | None = Field(
        default=None,
        ge=16,
        le=4096,
        description="Pixels of the longer side, or of each side where the processor makes squares, in place of the "
        "checkpoint's; refused where the architecture does not take it.",
    )


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
    size: Side | None = Field(
        default=None,
        description="Pixels that the longer side of a picture is scaled down to; the rest of the square is grey. "
        "`centers` needs it.",
    )
    single_size: Side | None = Field(
        default=None, description="The same for pictures of single objects; `centers` needs it, too."
    )
    processor: GivenProcessor = Field(
        default=GivenProcessor(),
        description="Image processor of `model.type: auto`, in place of `size`, `single_size` and `small`.",
    )
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
    bad_box: Literal["refuse", "drop", "clip"] = Field(
        default="refuse",
        description="What happens to a picture with a box that has no area, is not inside it or lacks its label: "
        "`refuse` stops the run, `drop` leaves it out; `clip` cuts boxes at its edges, and refuses what is no box.",
    )

    @property
    def policies(self) -> dict[str, str]:
        """Return what becomes of a picture that does not fit, by the key that says so."""
        return {"small": self.small, "unknown_label": self.unknown_label, "bad_box": self.bad_box}

    @property
    def side(self) -> int:
        """Return the size, of a recipe that has one."""
        assert self.size is not None
        return self.size

    @property
    def single_side(self) -> int:
        """Return the size of pictures of single objects, of a recipe that has one."""
        assert self.single_size is not None
        return self.single_size

    @property
    def checkpoint_key(self) -> str:
        """Return the recipe's key that names the given checkpoint."""
        return PROCESSOR

    @property
    def given_checkpoint(self) -> str | None:
        """Return the checkpoint whose processor is taken; None where none is."""
        return self.processor.source

    def with_checkpoint(self, source: str) -> Preparation:
        """Return these settings with the processor taken from elsewhere.

        Args:
            source: A model folder or version.
        """
        return self.model_copy(update={"processor": self.processor.model_copy(update={"source": source})})

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


class PretrainedDetector(PretrainedModel):
    """A detector of `transformers` that a checkpoint describes, and how its pictures are changed in training."""

    heads: ClassVar = ("AutoModelForObjectDetection",)

    shift: float = Field(
        default=0.1, ge=0, le=0.5, description="Greatest shift of a picture in training, as a fraction of its side."
    )
    zoom: float = Field(
        default=0.1, ge=0, le=0.5, description="Greatest scaling of a picture in training, as a fraction of its side."
    )
    flip: bool = Field(
        default=False,
        description="Whether half of the pictures are mirrored in training, left to right: not where a class says "
        "which side it is on, as digits and letters do.",
    )
    colour: float = Field(
        default=0.0,
        ge=0,
        le=0.5,
        description="Greatest change of brightness, contrast and saturation in training, as a fraction.",
    )

    @property
    def varies(self) -> bool:
        """Return whether pictures are changed."""
        return bool(self.shift or self.zoom or self.flip or self.colour)


class DetectionGate(Section):
    """Thresholds of a detector's metrics on the test split."""

    map50: Bound | None = Field(
        default=None, description="Mean average precision over the classes, at an intersection over union of 0.5."
    )
    map: Bound | None = Field(
        default=None,
        description="The same, averaged over intersections over union from 0.5 to 0.95, as COCO measures it.",
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
    model: Annotated[
        Annotated[DetectorModel, Tag("centers")] | Annotated[PretrainedDetector, Tag(AUTO)], by_type("centers")
    ] = DetectorModel()
    fine_tuning: AdaptedFineTuning | None = None
    evaluation: DetectionEvaluation = DetectionEvaluation()

    measures: ClassVar = {"f1": Measure("score", higher_is_better=True), "loss": LOSS}

    @model_validator(mode="after")
    def _learns_boxes(self) -> "Recipe":
        if self.data.media != "images":
            raise ValueError("data.media: a detector reads images; set it to images")
        if self.fine_tuning is None:
            raise ValueError("fine_tuning: a detector learns its boxes there, it cannot be none")
        return self

    @model_validator(mode="after")
    def _fits_the_model(self) -> "Recipe":
        settings, tuned = self.preprocessing, self.fine_tuning
        assert tuned is not None
        if isinstance(self.model, PretrainedModel):
            for key in ("size", "single_size", "small"):
                if getattr(settings, key) != type(settings).model_fields[key].default:
                    raise ValueError(
                        f"preprocessing.{key}: with model.type: auto the checkpoint's processor decides; leave it out, "
                        "or set preprocessing.processor.size"
                    )
            if tuned.label_smoothing:
                raise ValueError(
                    "fine_tuning.label_smoothing: model.type: auto learns with the checkpoint's own loss, which has "
                    "none; set 0"
                )
            return self
        for key in ("size", "single_size"):
            if getattr(settings, key) is None:
                raise ValueError(f"preprocessing.{key}: model.type: {self.model.type} needs it; set it")
        if settings.processor != GivenProcessor():
            raise ValueError("preprocessing.processor: a processor is for model.type: auto; leave it out")
        if tuned.adapted or tuned.frozen_layers or tuned.layer_decay:
            raise ValueError(
                f"fine_tuning: model.type: {self.model.type} has no blocks for adapters, frozen_layers or layer_decay; "
                "set method: full and leave them out"
            )
        return self
