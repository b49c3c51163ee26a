"""The recipe of a network that takes noise out of recordings of speech."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from modelmill.recipe import sections
from modelmill.recipe.measure import LOSS, Measure
from modelmill.recipe.sections import Bound, Comparison, Evaluation, Preparation, Section


class EnhancementPreprocessing(Preparation):
    """`clean` is the column that names, for a noisy recording, the file with the same speech alone, which has a row of
    its own; for a recording that is clean itself it is empty. Pretraining learns from clean recordings, fine-tuning
    from noisy ones beside theirs.

    Recordings become one channel of `sample_rate` Hz; one of another rate is resampled (`resample`), or refused. A row
    is refused or dropped (`unusable`) whose clean recording is not in the data, in another split, silent, or of another
    length, or that is shorter than a window of the network or longer than `max_seconds`.
    """

    clean: str = "clean"
    sample_rate: int = Field(default=16_000, ge=4_000, le=48_000)
    resample: bool = False
    max_seconds: float = Field(default=20.0, gt=0, le=600)
    unusable: Literal["refuse", "drop"] = "refuse"


class MaskModel(Section):
    """`blocks` of dilated convolutions over spectra of `window_seconds`, with `channels` each; `dropout` is of whole
    channels. Training hears `segment_seconds` of a recording, at another place each time, and another `gain` in dB;
    pretraining puts noise of any colour on it, at signal-to-noise ratios in dB from the first of `noise` to the last.
    """

    type: Literal["masks"] = "masks"
    channels: int = Field(default=96, ge=8)
    blocks: int = Field(default=8, ge=1, le=32)
    dropout: float = Field(default=0.05, ge=0, lt=1)
    window_seconds: float = Field(default=0.032, ge=0.008, le=0.128)
    segment_seconds: float = Field(default=1.0, gt=0.1, le=60)
    gain: float = Field(default=6.0, ge=0, le=40)
    noise: tuple[float, float] = Field(default=(-5.0, 15.0), strict=False)


class EnhancementGate(Section):
    """Thresholds, in dB; `si_sdr` is the scale-invariant signal-to-distortion ratio of what the network makes."""

    si_sdr: Bound | None = None
    si_sdr_improvement: Bound | None = None
    loss: Bound | None = None


class EnhancementComparison(Comparison):
    """`metric` is what the models are compared by."""

    metric: Literal["si_sdr_improvement", "loss"] = "si_sdr_improvement"


class EnhancementEvaluation(Evaluation):
    """`baseline` is the noisy recording as it is, a Wiener filter, and the pretrained model before fine-tuning.
    `samples` recordings are in the report.
    """

    gate: EnhancementGate = EnhancementGate()
    comparison: EnhancementComparison | None = EnhancementComparison()
    samples: int = Field(default=4, ge=0, le=50)


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
