"""The recipe of a generator of images: an adversarial network, pretrained on some images and fine-tuned on others."""

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from modelmill.recipe import sections
from modelmill.recipe.measure import Measure
from modelmill.recipe.sections import Bound, Comparison, Evaluation, FineTuning, Preparation, Pretraining, Section


class GenerationPreprocessing(Preparation):
    """Images whose `label` is in `fine_tune_on` are for fine-tuning, at most `images` of them; all others are for
    pretraining. Evaluation learns all labels, for the features that images are compared by.

    Images are scaled to `size` pixels on the shorter side and cut to a square; those that are smaller are refused,
    dropped or enlarged.
    """

    label: str = "label"
    fine_tune_on: list[str] = Field(min_length=1)
    images: int | None = Field(default=None, ge=1)
    size: int = Field(default=32, ge=8, le=512, multiple_of=4)
    channels: Literal[1, 3] = 3
    small: Literal["refuse", "drop", "enlarge"] = "refuse"

    @property
    def held_out(self) -> dict[str, Any]:
        return super().held_out | {"preprocessing.fine_tune_on": sorted(self.fine_tune_on)}


class AdversarialModel(Section):
    """A generator that makes an image of `latent` random numbers, and a discriminator; `width` says how many channels
    they have. The discriminator sees images shifted by up to a share `shift` of their side, and the squares of its
    gradients at them weigh half of `penalty`.
    """

    latent: int = Field(default=32, ge=2, le=1024)
    width: int = Field(default=32, ge=8, le=1024, multiple_of=8)
    penalty: float = Field(default=1.0, ge=0)
    shift: float = Field(default=0.1, ge=0, le=0.5)


class GenerationGate(Section):
    """Thresholds; see the metrics of `evaluate`."""

    frechet: Bound | None = None
    frechet_before: Bound | None = None
    distance: Bound | None = None


class GenerationComparison(Comparison):
    """`distance` is of each held-out image to the nearest of those that a model makes."""

    metric: Literal["distance"] = "distance"


class GenerationEvaluation(Evaluation):
    """`generated` images are measured, `samples` are shown. `baseline` is noise, a Gaussian of the pixels, and the
    model before fine-tuning.
    """

    gate: GenerationGate = GenerationGate()
    comparison: GenerationComparison | None = GenerationComparison()
    generated: int = Field(default=1000, ge=10, le=100_000)
    samples: int = Field(default=24, ge=0, le=400)


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
