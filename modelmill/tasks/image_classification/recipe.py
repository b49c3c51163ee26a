"""The recipe of a classifier of images: a checkpoint, or a network that has learned other classes or rotations."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, Tag, model_validator

from modelmill.recipe import sections
from modelmill.recipe.adapters import AdaptedFineTuning
from modelmill.recipe.classification import MEASURES, ClassifierComparison, ClassifierGate
from modelmill.recipe.pretrained import AUTO, PretrainedModel, by_type
from modelmill.recipe.sections import PROCESSOR, Evaluation, Preparation, Pretraining, Section

# What a checkpoint's processor decides, each with the value that it has where a recipe does not name it.
_DECIDED = {"size": 32, "channels": 3, "small": "refuse"}


class GivenProcessor(Section):
    """The image processor of a checkpoint, with which `model.type: auto` prepares images."""

    source: str | None = Field(
        default=None,
        alias="from",
        min_length=1,
        description="Checkpoint that the processor is taken from, named as `pretraining.init` is, and by default that "
        "one.",
    )
    size: int | None = Field(
        default=None,
        ge=4,
        le=4096,
        description="Pixels of a side, in place of the checkpoint's; positions are interpolated where the architecture "
        "can do so, else it is refused.",
    )


class ImagePreprocessing(Preparation):
    """How images become squares, and which labels each stage learns."""

    label: str = Field(default="label", description="Column with the class.")
    classes: list[str] | None = Field(
        default=None,
        min_length=2,
        description="Classes that the model tells apart; null takes all labels of training rows that are not in "
        "`other_classes`.",
    )
    other_classes: list[str] = Field(
        default=[],
        description="Classes that pretraining tells apart, with all of their labels; without any it learns by how far "
        "images of all classes are rotated.",
    )
    labelled_per_class: int | None = Field(
        default=None,
        ge=1,
        description="Training rows of each class whose label fine-tuning sees, drawn by a hash of the row, so a "
        "larger number adds rows; null shows all.",
    )
    size: int = Field(
        default=32,
        ge=4,
        le=1024,
        description="Pixels of the shorter side that an image is scaled to; it is then cut to a square around its "
        "middle.",
    )
    channels: Literal[1, 3] = Field(default=3, description="Channels of an image: 3 for colours, 1 for grey.")
    small: Literal["refuse", "drop", "enlarge"] = Field(
        default="refuse",
        description="What happens to an image that is smaller than `size`: `refuse` stops the run, `drop` leaves its "
        "row out.",
    )
    unknown_label: Literal["refuse", "drop"] = Field(
        default="refuse",
        description="What happens to a row whose label is in neither list of classes: `refuse` stops the run, `drop` "
        "leaves it out.",
    )
    processor: GivenProcessor = Field(
        default=GivenProcessor(),
        description="Image processor of `model.type: auto`, in place of `size`, `channels` and `small`.",
    )

    @property
    def checkpoint_key(self) -> str:
        """Return the recipe's key that names the given checkpoint."""
        return PROCESSOR

    @property
    def given_checkpoint(self) -> str | None:
        """Return the checkpoint whose image processor is taken; None where none is."""
        return self.processor.source

    def with_checkpoint(self, source: str) -> "ImagePreprocessing":
        """Return these settings with the image processor taken from elsewhere.

        Args:
            source: The checkpoint.
        """
        return self.model_copy(update={"processor": self.processor.model_copy(update={"source": source})})

    @model_validator(mode="after")
    def _classes_differ(self) -> "ImagePreprocessing":
        both = [*(self.classes or []), *self.other_classes]
        if twice := [name for name in both if both.count(name) > 1]:
            raise ValueError(f"classes and other_classes: {twice[0]!r} is there twice")
        if len(self.other_classes) == 1:
            raise ValueError("other_classes: one class cannot be told from others; name two, or none for rotations")
        return self


class ImageModel(Section):
    """A convolutional network of stages, each on half as many pixels a side as the one before it."""

    type: Literal["convolutional"] = Field(
        default="convolutional", description="`convolutional`: a network of the keys beside it."
    )
    architecture: Literal["vgg", "inception", "resnet"] = Field(
        default="resnet", description="Blocks of a stage: pairs of convolutions, inception modules or residual blocks."
    )
    width: int = Field(
        default=16,
        ge=8,
        le=1024,
        multiple_of=8,
        description="Channels of the first stage; each further one has twice as many.",
    )
    stages: int = Field(
        default=3, ge=1, le=6, description="Stages; `preprocessing.size` must be at least 2 to the power of them."
    )
    depth: int = Field(default=1, ge=1, le=50, description="Blocks of a stage.")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="Dropout before the last layer.")
    shift: float = Field(
        default=0.1, ge=0, le=0.5, description="Greatest shift of an image in training, as a fraction of its side."
    )
    turn: float = Field(
        default=10.0, ge=0, le=180, description="Greatest rotation of an image in training, in degrees."
    )
    zoom: float = Field(
        default=0.1, ge=0, le=0.5, description="Greatest scaling of an image in training, as a fraction of its side."
    )

    @property
    def field(self) -> int:
        """Return the fewest pixels a side that leave one to the last stage."""
        return 2**self.stages


class PretrainedImageModel(PretrainedModel):
    """A classifier of `transformers` that a checkpoint describes, and how its images are changed in training."""

    heads = ("AutoModelForImageClassification",)

    shift: float = Field(
        default=0.1, ge=0, le=0.5, description="Greatest shift of an image in training, as a fraction of its side."
    )
    turn: float = Field(
        default=10.0, ge=0, le=180, description="Greatest rotation of an image in training, in degrees."
    )
    zoom: float = Field(
        default=0.1, ge=0, le=0.5, description="Greatest scaling of an image in training, as a fraction of its side."
    )
    flip: bool = Field(
        default=False,
        description="Whether half of the images are mirrored in training, left to right: not where a label says which "
        "side it is on, as digits and letters do.",
    )
    colour: float = Field(
        default=0.0,
        ge=0,
        le=0.5,
        description="Greatest change of brightness, contrast and saturation in training, as a fraction.",
    )
    erase: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Fraction of the images in training in which a rectangle is blanked "
        "(Zhong et al., 2017, https://arxiv.org/abs/1708.04896).",
    )


class ImageEvaluation(Evaluation):
    """When a classifier of images is good enough, and which samples the report shows."""

    baseline: bool = Field(
        default=True,
        description="Whether `loss` must be below that of the classes' shares, and `loss` and `accuracy` must beat "
        "logistic regression on the pixels with the same labels.",
    )
    gate: ClassifierGate = ClassifierGate()
    comparison: ClassifierComparison | None = ClassifierComparison()
    samples: int = Field(
        default=24,
        ge=0,
        le=400,
        description="Test images that the report shows; up to a half are mistakes, the surest first.",
    )


class Recipe(sections.Recipe):
    """Images in; a network out that tells their classes."""

    task: Literal["image_classification"]
    preprocessing: ImagePreprocessing = ImagePreprocessing()
    model: Annotated[
        Annotated[ImageModel, Tag("convolutional")] | Annotated[PretrainedImageModel, Tag(AUTO)],
        by_type("convolutional"),
    ] = ImageModel()
    pretraining: Pretraining | None
    fine_tuning: AdaptedFineTuning | None
    evaluation: ImageEvaluation = ImageEvaluation()

    measures: ClassVar = MEASURES

    @model_validator(mode="after")
    def _fits_images(self) -> "Recipe":
        if self.data.media != "images":
            raise ValueError("data.media: must be images: the rows name image files in their column `file`")
        if self.fine_tuning is None:
            raise ValueError("fine_tuning: a classifier learns its labels there, it cannot be none")
        return self

    @model_validator(mode="after")
    def _fits_the_network(self) -> "Recipe":
        if isinstance(self.model, PretrainedImageModel):
            _require_processor_alone(self.preprocessing)
            return self
        if self.fine_tuning is not None and self.fine_tuning.adapted:
            raise ValueError(
                f"fine_tuning.method: {self.fine_tuning.method} adapts a checkpoint; set model.type: auto, or full"
            )
        if self.preprocessing.given_checkpoint is not None or self.preprocessing.processor.size is not None:
            raise ValueError("preprocessing.processor: it is of a checkpoint; set model.type: auto")
        if self.preprocessing.size < self.model.field:
            raise ValueError(
                f"preprocessing.size: {self.model.stages} stages of {self.model.architecture} need images of "
                f"{self.model.field} pixels a side, not {self.preprocessing.size}; raise it, or lower model.stages"
            )
        return self


def _require_processor_alone(settings: ImagePreprocessing) -> None:
    """Check that a recipe does not name what a checkpoint's processor decides.

    Raises:
        ValueError: It does.
    """
    for key, value in _DECIDED.items():
        if (named := getattr(settings, key)) != value:
            raise ValueError(
                f"preprocessing.{key}: {named}: with model.type: auto the checkpoint's image processor decides; leave "
                "it out, or set preprocessing.processor.size"
            )
    if settings.other_classes:
        raise ValueError(
            "preprocessing.other_classes: pretraining learns them, and with model.type: auto the checkpoint is trained "
            "already; leave them out, and set preprocessing.unknown_label: drop"
        )
