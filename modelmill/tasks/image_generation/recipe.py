"""The recipe of a generator of images: an adversarial network, pretrained on some images and fine-tuned on others."""

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from modelmill.recipe import sections
from modelmill.recipe.measure import Measure
from modelmill.recipe.sections import Bound, Comparison, Evaluation, FineTuning, Preparation, Pretraining, Section


class GenerationPreprocessing(Preparation):
    """How images become squares, and which of them each stage learns."""

    label: str = Field(default="label", description="Column with the label; evaluation learns it to compare images by.")
    fine_tune_on: list[str] = Field(
        min_length=1, description="Labels of the images that fine-tuning learns; pretraining learns all others."
    )
    images: int | None = Field(
        default=None,
        ge=1,
        description="Training images that fine-tuning sees, drawn by a hash of the row, so a larger number adds some; "
        "null shows all.",
    )
    size: int = Field(
        default=32,
        ge=8,
        le=512,
        multiple_of=4,
        description="Pixels of the shorter side that an image is scaled to; it is then cut to a square around its "
        "middle.",
    )
    channels: Literal[1, 3] = Field(default=3, description="Channels of an image: 3 for colours, 1 for grey.")
    small: Literal["refuse", "drop", "enlarge"] = Field(
        default="refuse",
        description="What happens to an image that is smaller than `size`: `refuse` stops the run, `drop` leaves its "
        "row out.",
    )

    @property
    def held_out(self) -> dict[str, Any]:
        """Return the settings that decide which records are in the test split, by dotted key."""
        return super().held_out | {"preprocessing.fine_tune_on": sorted(self.fine_tune_on)}


class AdversarialModel(Section):
    """A generator that makes an image of random numbers, and a discriminator."""

    latent: int = Field(default=32, ge=2, le=1024, description="Random numbers that an image is made of.")
    width: int = Field(
        default=32,
        ge=8,
        le=1024,
        multiple_of=8,
        description="Channels of the generator's last hidden layer and of the discriminator's first.",
    )
    penalty: float = Field(
        default=1.0, ge=0, description="Weight of the squared gradients of the discriminator at real images, halved."
    )
    shift: float = Field(
        default=0.1,
        ge=0,
        le=0.5,
        description="Greatest shift of the images that the discriminator sees, as a fraction of their side.",
    )


class GenerationGate(Section):
    """Thresholds of a generator's metrics."""

    frechet: Bound | None = Field(
        default=None, description="Frechet distance of generated images to held-out ones of the same labels."
    )
    frechet_before: Bound | None = Field(
        default=None, description="Frechet distance of the pretrained model's images, before fine-tuning."
    )
    distance: Bound | None = Field(
        default=None, description="Mean distance of a held-out image to the nearest generated one."
    )


class GenerationComparison(Comparison):
    """How a generator is compared with the champion."""

    metric: Literal["distance"] = Field(
        default="distance",
        description="Metric that the models are compared by; the only one of single held-out images.",
    )


class GenerationEvaluation(Evaluation):
    """When a generator is good enough, and which samples the report shows."""

    baseline: bool = Field(
        default=True,
        description="Whether `frechet` must be below that of noise, of a Gaussian of the pixels and of the pretrained "
        "model.",
    )
    gate: GenerationGate = GenerationGate()
    comparison: GenerationComparison | None = GenerationComparison()
    generated: int = Field(default=1000, ge=10, le=100_000, description="Images that are made to be measured.")
    samples: int = Field(default=24, ge=0, le=400, description="Generated images that the report shows.")


class Recipe(sections.Recipe):
    """Images in; a network that makes such out."""

    task: Literal["image_generation"]
    preprocessing: GenerationPreprocessing
    model: AdversarialModel = AdversarialModel()
    pretraining: Pretraining | None
    fine_tuning: FineTuning | None
    evaluation: GenerationEvaluation = GenerationEvaluation()

    measures: ClassVar = {"distance": Measure()}

    @model_validator(mode="after")
    def _has_images(self) -> "Recipe":
        if self.data.media != "images":
            raise ValueError("data.media: must be images: the rows name image files in their column `file`")
        if self.fine_tuning is None:
            raise ValueError(
                "fine_tuning: the images of preprocessing.fine_tune_on are learned there; it cannot be none"
            )
        return self
