"""Settings of what fine-tuning learns: responses, preferences, or the distribution of a larger model."""

from typing import Literal

from pydantic import Field, model_validator

from modelmill.recipe.adapters import AdaptedFineTuning
from modelmill.recipe.sections import Section

# Source of pairs that an objective needs; the others learn pairs and conversations.
NEEDS: dict[str, Literal["preferences", "labelled"]] = {"dpo": "preferences", "orpo": "preferences", "kto": "labelled"}


class Preference(Section):
    """How better and worse answers are learned."""

    loss: Literal["sigmoid", "ipo", "hinge"] = Field(
        default="sigmoid",
        description="Loss of `dpo` by the margin between the answers: `sigmoid` (Rafailov et al., 2023, "
        "https://arxiv.org/abs/2305.18290), `ipo`, of margins a token (Azar et al., 2023, "
        "https://arxiv.org/abs/2310.12036), or `hinge` (Zhao et al., 2023, https://arxiv.org/abs/2305.10425).",
    )
    beta: float = Field(
        default=0.1,
        gt=0,
        description="Weight of the log-ratios to the reference in `dpo` and `kto`: the larger, the closer the model "
        "stays to it; in `orpo` the weight of the odds ratio beside the loss of the better answer.",
    )
    label_smoothing: float = Field(
        default=0.0,
        ge=0,
        lt=0.5,
        description="Probability that a pair's answers were swapped, for `dpo` with the loss `sigmoid` (conservative "
        "DPO; Mitchell, 2023, https://ericmitchell.ai/cdpo.pdf).",
    )
    length_normalised: bool = Field(
        default=False,
        description="Whether log-ratios are means over an answer's tokens in place of sums, for `dpo`; `ipo` and "
        "`orpo` always take means.",
    )
    reference_free: bool = Field(
        default=False,
        description="Whether `dpo` goes without a reference, as if all answers were equally likely under it.",
    )
    good_weight: float = Field(default=1.0, ge=0, description="Weight of good answers in `kto`.")
    bad_weight: float = Field(default=1.0, ge=0, description="Weight of bad answers in `kto`.")

    @model_validator(mode="after")
    def _smooths_what_is_smooth(self) -> "Preference":
        if self.label_smoothing and self.loss != "sigmoid":
            raise ValueError(f"label_smoothing is for loss: sigmoid, and this is loss: {self.loss}; set it to 0")
        return self


class Distillation(Section):
    """How the distribution of a larger model is learned."""

    teacher: str | None = Field(
        default=None,
        description="Model to learn from: a folder, `s3://BUCKET/PREFIX`, `hf://ORG/NAME@REVISION` or "
        "`models:/NAME/VERSION`.",
    )
    top_k: int = Field(
        default=64,
        ge=1,
        description="The teacher's likeliest tokens at each place, whose probabilities are stored; all others are one "
        "bucket.",
    )
    temperature: float = Field(default=1.0, gt=0, description="Divisor of both models' logits.")
    weight: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Weight of the teacher's distribution beside the labels, which get the rest.",
    )


class LanguageFineTuning(AdaptedFineTuning):
    """Training of a language model for its purpose."""

    objective: Literal["sft", "dpo", "orpo", "kto", "distil"] = Field(
        default="sft",
        description="What is learned: responses (`sft`); the better of two answers (`dpo`; `orpo`, "
        "https://arxiv.org/abs/2403.07691); good answers and not bad ones (`kto`, "
        "https://arxiv.org/abs/2402.01306); or a larger model's distribution over responses (`distil`).",
    )
    preference: Preference = Field(default=Preference(), description="Loss of `dpo`, `orpo` and `kto`.")
    distillation: Distillation = Field(default=Distillation(), description="Teacher and loss of `distil`.")

    @property
    def learns_preferences(self) -> bool:
        """Return whether answers are compared or judged."""
        return self.objective in NEEDS

    @property
    def teacher(self) -> str | None:
        """Return the model that is learned from; None where data alone is."""
        return self.distillation.teacher if self.objective == "distil" else None

    def with_teacher(self, source: str) -> "LanguageFineTuning":
        """Return these settings with the teacher taken from elsewhere.

        Args:
            source: Model folder or version.
        """
        return self.model_copy(update={"distillation": self.distillation.model_copy(update={"teacher": source})})

    @property
    def needs_reference(self) -> bool:
        """Return whether the loss compares with the model before fine-tuning."""
        return self.objective == "kto" or (self.objective == "dpo" and not self.preference.reference_free)

    @model_validator(mode="after")
    def _fits_its_objective(self) -> "LanguageFineTuning":
        # A recipe that was resolved has every key: what counts is whether a section differs from its defaults.
        if self.preference != Preference() and not self.learns_preferences:
            raise ValueError(
                f"preference: is for objective dpo, orpo or kto, and this is {self.objective}; leave it out"
            )
        if self.distillation != Distillation() and self.objective != "distil":
            raise ValueError(f"distillation: is for objective distil, and this is {self.objective}; leave it out")
        if self.objective == "distil" and self.distillation.teacher is None:
            raise ValueError("objective: distil needs distillation.teacher, a model to learn from")
        if self.label_smoothing and self.objective != "sft":
            advice = "; dpo has preference.label_smoothing" if self.objective == "dpo" else ""
            raise ValueError(f"label_smoothing is for objective sft, and this is {self.objective}{advice}; set it to 0")
        return self


def require_source(settings: LanguageFineTuning, source: str) -> None:
    """Check that an objective is given the pairs that it learns.

    Args:
        settings: The stage's settings.
        source: `preprocessing.pairs.from`.

    Raises:
        ValueError: It is not.
    """
    needed = NEEDS.get(settings.objective)
    if needed and source != needed:
        raise ValueError(
            f"fine_tuning.objective: {settings.objective} needs preprocessing.pairs.from: {needed}, it is {source}"
        )
    if not needed and source in NEEDS.values():
        fits = " or ".join(name for name, its in NEEDS.items() if its == source)
        raise ValueError(
            f"preprocessing.pairs.from: {source} has no loss for fine_tuning.objective: {settings.objective}; set "
            f"objective to {fits}"
        )
