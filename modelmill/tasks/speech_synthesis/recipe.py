"""The recipe of a speech synthesiser."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from modelmill.corpus.settings import require_two
from modelmill.corpus.speech.settings import SpeechPreprocessing, require_recordings
from modelmill.recipe import sections
from modelmill.recipe.measure import Measure
from modelmill.recipe.sections import Bound, Comparison, Evaluation, Section


class SynthesisModel(Section):
    """Convolutions over characters, each repeated for as many frames as it lasts, and over frames."""

    type: Literal["conv-fastspeech"] = Field(default="conv-fastspeech", description="Architecture.")
    mels: int = Field(default=64, ge=8, le=128, description="Mel bands of the spectra.")
    hidden_size: int = Field(default=128, ge=8, description="Channels of the convolutions.")
    encoder_layers: int = Field(default=3, ge=1, le=12, description="Convolutions over characters.")
    decoder_layers: int = Field(default=4, ge=1, le=12, description="Convolutions over frames.")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="Dropout after each convolution.")


class SynthesisGate(Section):
    """Thresholds of a synthesiser's metrics on held-out texts."""

    mel_distance: Bound | None = Field(
        default=None, description="Distance of the spectra to those of the real recordings, in dB."
    )
    mel_distance_before: Bound | None = Field(
        default=None, description="The same of the pretrained model, before fine-tuning."
    )
    character_error_rate: Bound | None = Field(
        default=None, description="Character error rate of the listener on synthesised speech."
    )
    character_error_rate_real: Bound | None = Field(
        default=None, description="Character error rate of the listener on real recordings of the same texts."
    )


class SynthesisComparison(Comparison):
    """How a synthesiser is compared with the champion."""

    metric: Literal["mel_distance", "character_error_rate"] = "mel_distance"


class Listener(Section):
    """A recogniser of speech that evaluation trains on the real training recordings."""

    steps: int = Field(
        default=300, ge=0, le=100_000, description="Steps of its training; 0 trains none and measures no error rate."
    )
    batch_size: int = Field(default=16, ge=1, description="Recordings a step.")
    learning_rate: float = Field(default=5e-3, gt=0, le=1, description="Learning rate of its training.")


class SynthesisEvaluation(Evaluation):
    """When a synthesiser is good enough, and which samples the report has."""

    baseline: bool = Field(
        default=True,
        description="Whether the model must beat the mean spectrum, the nearest training recording and, after "
        "fine-tuning, the pretrained model, and the listener the best constant transcript.",
    )
    gate: SynthesisGate = SynthesisGate()
    comparison: SynthesisComparison | None = SynthesisComparison()
    listener: Listener = Field(
        default=Listener(), description="Recogniser that tells how intelligible synthesised speech is."
    )
    samples: int = Field(default=6, ge=0, le=100, description="Texts that the report has, each real and synthesised.")


class Recipe(sections.Recipe):
    """Recordings with transcripts in; a network that speaks, trained on one voice and then on another."""

    task: Literal["speech_synthesis"]
    preprocessing: SpeechPreprocessing = SpeechPreprocessing()
    model: SynthesisModel = SynthesisModel()
    evaluation: SynthesisEvaluation = SynthesisEvaluation()

    measures: ClassVar = {
        "mel_distance": Measure(value="score", set="recordings"),
        "character_error_rate": Measure(value="score", set="characters"),
    }

    @model_validator(mode="after")
    def _stages_fit(self) -> "Recipe":
        require_recordings(self)
        require_two(self)
        evaluation, both = self.evaluation, self.pretraining is not None and self.fine_tuning is not None
        if evaluation.gate.mel_distance_before is not None and not both:
            raise ValueError("evaluation.gate.mel_distance_before needs pretraining and fine_tuning")
        of_listener = evaluation.gate.character_error_rate or evaluation.gate.character_error_rate_real
        compared = evaluation.comparison is not None and evaluation.comparison.metric == "character_error_rate"
        if not evaluation.listener.steps and (of_listener is not None or compared):
            raise ValueError("evaluation: character_error_rate needs a listener; set evaluation.listener.steps")
        if self.fine_tuning is not None and self.fine_tuning.onnx:
            raise ValueError(
                "fine_tuning.onnx: how long speech is depends on the text, which ONNX is not made for here"
            )
        return self
