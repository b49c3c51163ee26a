"""The recipe of a classifier of images: pretrained on other classes or on rotations, fine-tuned on few labels."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from modelmill.recipe import sections
from modelmill.recipe.classification import MEASURES, ClassifierComparison, ClassifierGate
from modelmill.recipe.sections import Evaluation, FineTuning, Preparation, Pretraining, Section


class ImagePreprocessing(Preparation):
    """`label` is the column with the class; `classes` are those to tell apart, without which all that training rows
    have and that are not `other_classes`. Fine-tuning sees `labelled_per_class` labels of each. Pretraining learns the
    `other_classes` with all of their labels, or without such by how far an image, of any class, has been rotated.

    Images are scaled to `size` pixels on the shorter side and cut to a square; those that are smaller are refused,
    dropped or enlarged. A row with another label is refused or dropped.
    """

    label: str = "label"
    classes: list[str] | None = Field(default=None, min_length=2)
    other_classes: list[str] = []
    labelled_per_class: int | None = Field(default=None, ge=1)
    size: int = Field(default=32, ge=4, le=1024)
    channels: Literal[1, 3] = 3
    small: Literal["refuse", "drop", "enlarge"] = "refuse"
    unknown_label: Literal["refuse", "drop"] = "refuse"

    @model_validator(mode="after")
    def _classes_differ(self) -> "ImagePreprocessing":
        both = [*(self.classes or []), *self.other_classes]
        if twice := [name for name in both if both.count(name) > 1]:
            raise ValueError(f"classes and other_classes: {twice[0]!r} is there twice")
        if len(self.other_classes) == 1:
            raise ValueError("other_classes: one class cannot be told from others; name two, or none for rotations")
        return self


class ImageModel(Section):
    """A network of `stages`, each with `depth` pairs of convolutions, inception modules or residual blocks; the first
    has `width` channels, each further one twice as many on half as many pixels a side.

    In training an image is shifted by up to a share `shift` of its side, turned by up to `turn` degrees and scaled by
    up to a share `zoom`. `dropout` is before the last layer.
    """

    architecture: Literal["vgg", "inception", "resnet"] = "resnet"
    width: int = Field(default=16, ge=8, le=1024, multiple_of=8)
    stages: int = Field(default=3, ge=1, le=6)
    depth: int = Field(default=1, ge=1, le=50)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    shift: float = Field(default=0.1, ge=0, le=0.5)
    turn: float = Field(default=10.0, ge=0, le=180)
    zoom: float = Field(default=0.1, ge=0, le=0.5)

    @property
    def field(self) -> int:
        """The least pixels a side that leave one to the last stage."""
        return 2**self.stages


class ImageEvaluation(Evaluation):
    """`baseline` is the shares of the classes, and logistic regression on the pixels with the same labels. `samples`
    images are shown.
    """

    gate: ClassifierGate = ClassifierGate()
    comparison: ClassifierComparison | None = ClassifierComparison()
    samples: int = Field(default=24, ge=0, le=400)


class Recipe(sections.Recipe):
    """Images in; a convolutional network out."""

    task: Literal["image_classification"]
    preprocessing: ImagePreprocessing = ImagePreprocessing()
    model: ImageModel = ImageModel()
    pretraining: Pretraining | None
    fine_tuning: FineTuning | None
    evaluation: ImageEvaluation = ImageEvaluation()

    measures: ClassVar = MEASURES

    @model_validator(mode="after")
    def _fits_images(self) -> "Recipe":
        if self.data.media != "images":
            raise ValueError("data.media: must be images: the rows name image files in their column `file`")
        if self.fine_tuning is None:
            raise ValueError("fine_tuning: a classifier learns its labels there, it cannot be none")
        if self.preprocessing.size < self.model.field:
            raise ValueError(
                f"preprocessing.size: {self.model.stages} stages of {self.model.architecture} need images of "
                f"{self.model.field} pixels a side, not {self.preprocessing.size}; raise it, or lower model.stages"
            )
        return self
