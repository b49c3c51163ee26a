"""The recipe of a speech synthesiser."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from modelmill.corpus.settings import require_two
from modelmill.corpus.speech.settings import SpeechPreprocessing, require_recordings
from modelmill.recipe import sections
from modelmill.recipe.measure import Measure
from modelmill.recipe.sections import Bound, Comparison, Evaluation, Section


class SynthesisModel(Section):
    """`encoder_layers` of convolutions of `hidden_size` over characters, each character's frames, `decoder_layers` over
    those, and a log-mel spectrum of `mels` bands; `dropout` is in all of them.
    """

    type: Literal["conv-fastspeech"] = "conv-fastspeech"
    mels: int = Field(default=64, ge=8, le=128)
    hidden_size: int = Field(default=128, ge=8)
    encoder_layers: int = Field(default=3, ge=1, le=12)
    decoder_layers: int = Field(default=4, ge=1, le=12)
    dropout: float = Field(default=0.1, ge=0, lt=1)


class SynthesisGate(Section):
    """Thresholds: the mel distance in dB, and that of the pretrained model before fine-tuning; and the character error
    rate of what the recogniser hears in synthesised speech, and in real recordings of the same texts.
    """

    mel_distance: Bound | None = None
    mel_distance_before: Bound | None = None
    character_error_rate: Bound | None = None
    character_error_rate_real: Bound | None = None


class SynthesisComparison(Comparison):
    """`metric` is what the models are compared by."""

    metric: Literal["mel_distance", "character_error_rate"] = "mel_distance"


class Listener(Section):
    """A recogniser of speech that evaluation trains on the real training recordings, for so many `steps` (0: none, and
    intelligibility is not measured) of `batch_size` recordings.
    """

    steps: int = Field(default=300, ge=0, le=100_000)
    batch_size: int = Field(default=16, ge=1)
    learning_rate: float = Field(default=5e-3, gt=0, le=1)


class SynthesisEvaluation(Evaluation):
    """`baseline` is the mean spectrum, the nearest training recording and, after fine-tuning, the pretrained model; and
    for the recogniser the best constant transcript. `samples` texts are in the report, each real and synthesised.
    """

    gate: SynthesisGate = SynthesisGate()
    comparison: SynthesisComparison | None = SynthesisComparison()
    listener: Listener = Listener()
    samples: int = Field(default=6, ge=0, le=100)


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
