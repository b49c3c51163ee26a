"""The recipe of a network that takes noise out of recordings of speech."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from modelmill.recipe import sections
from modelmill.recipe.measure import LOSS, Measure
from modelmill.recipe.sections import Bound, Comparison, Evaluation, Preparation, Section


class EnhancementPreprocessing(Preparation):
    """How noisy and clean recordings become pairs; their channels are averaged to one.

    Pretraining learns from clean recordings, fine-tuning from noisy ones beside theirs.
    """

    clean: str = Field(
        default="clean",
        description="Column with a noisy recording's clean file, which has a row of its own; empty for a clean "
        "recording.",
    )
    sample_rate: int = Field(default=16_000, ge=4_000, le=48_000, description="Sample rate of the network, in Hz.")
    resample: bool = Field(
        default=False,
        description="Whether a recording of another rate is resampled; else it stops the run. `predict` always "
        "resamples.",
    )
    max_seconds: float = Field(
        default=20.0, gt=0, le=600, description="Length in seconds of the longest usable recording."
    )
    unusable: Literal["refuse", "drop"] = Field(
        default="refuse",
        description="What happens to a row that is shorter than 0.1 s or longer than `max_seconds`, or whose clean "
        "recording is missing, in another split, silent or of another length: `refuse` stops the run, `drop` leaves "
        "it out.",
    )


class MaskModel(Section):
    """Dilated convolutions over spectra that make a mask for each frequency and time."""

    type: Literal["masks"] = Field(default="masks", description="Architecture.")
    channels: int = Field(default=96, ge=8, description="Channels of a block.")
    blocks: int = Field(default=8, ge=1, le=32, description="Blocks of dilated convolutions.")
    dropout: float = Field(default=0.05, ge=0, lt=1, description="Dropout of whole channels.")
    window_seconds: float = Field(
        default=0.032,
        ge=0.008,
        le=0.128,
        description="Window of the spectra in seconds; one begins every quarter of it.",
    )
    segment_seconds: float = Field(
        default=1.0,
        gt=0.1,
        le=60,
        description="Seconds of a recording that training hears at once, at another place each time.",
    )
    gain: float = Field(
        default=6.0, ge=0, le=40, description="Greatest change of a recording's loudness in training, in dB either way."
    )
    noise: tuple[float, float] = Field(
        default=(-5.0, 15.0),
        strict=False,
        description="Least and greatest signal-to-noise ratio, in dB, of the noise that pretraining adds.",
    )


class EnhancementGate(Section):
    """Thresholds of the metrics, averaged over held-out recordings."""

    si_sdr: Bound | None = Field(
        default=None, description="Scale-invariant signal-to-distortion ratio of what the network makes, in dB."
    )
    si_sdr_improvement: Bound | None = Field(
        default=None, description="How much higher that is than of the noisy recording, in dB."
    )
    loss: Bound | None = Field(default=None, description="Loss, as in training, in dB.")


class EnhancementComparison(Comparison):
    """How a network is compared with the champion."""

    metric: Literal["si_sdr_improvement", "loss"] = "si_sdr_improvement"


class EnhancementEvaluation(Evaluation):
    """When a network that takes out noise is good enough, and which samples the report has."""

    baseline: bool = Field(
        default=True,
        description="Whether `si_sdr_improvement` must be above that of the noisy recording, of a Wiener filter and "
        "of the pretrained model.",
    )
    gate: EnhancementGate = EnhancementGate()
    comparison: EnhancementComparison | None = EnhancementComparison()
    samples: int = Field(
        default=4, ge=0, le=50, description="Recordings that the report has: noisy, enhanced and clean."
    )


class Recipe(sections.Recipe):
    """Noisy and clean recordings in; a network that takes the noise out."""

    task: Literal["speech_enhancement"]
    preprocessing: EnhancementPreprocessing = EnhancementPreprocessing()
    model: MaskModel = MaskModel()
    evaluation: EnhancementEvaluation = EnhancementEvaluation()

    measures: ClassVar = {"si_sdr_improvement": Measure("score", higher_is_better=True), "loss": LOSS}

    @model_validator(mode="after")
    def _learns_from_pairs(self) -> "Recipe":
        if self.data.media != "audio":
            raise ValueError("data.media: this task learns from recordings; set it to audio")
        if self.fine_tuning is None:
            raise ValueError("fine_tuning: the network learns there what noise is, it cannot be none")
        if self.fine_tuning.onnx:
            raise ValueError("fine_tuning.onnx: this network reads complex spectra, which ONNX is not made for")
        return self
