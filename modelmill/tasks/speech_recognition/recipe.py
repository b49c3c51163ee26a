"""The recipe of a speech recogniser."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from modelmill.corpus.settings import require_two
from modelmill.corpus.speech.settings import SpeechPreprocessing, require_recordings
from modelmill.recipe import sections
from modelmill.recipe.measure import Measure
from modelmill.recipe.sections import Bound, Comparison, Evaluation, Section


class Augmentation(Section):
    """What training does to a recording, drawn anew each time it is seen.

    `speed`: a batch is played up to so much faster or slower (Ko et al., 2015,
    https://www.isca-archive.org/interspeech_2015/ko15_interspeech.html). `noise`: white noise, so many dB or more below
    the recording. `time_masks` of at most `time_share` of the frames, and `frequency_masks` of at most
    `frequency_width` mel bands, are blanked (SpecAugment; Park et al., 2019, https://arxiv.org/abs/1904.08779).
    """

    speed: float = Field(default=0.1, ge=0, le=0.5)
    noise: float | None = Field(default=10.0, ge=-20, le=100)
    time_masks: int = Field(default=2, ge=0, le=20)
    time_share: float = Field(default=0.1, ge=0, le=1)
    frequency_masks: int = Field(default=2, ge=0, le=20)
    frequency_width: int = Field(default=6, ge=0, le=100)


class RecognitionModel(Section):
    """Log-mel spectra of `mels` bands, two convolutions of `channels`, `num_layers` of a bidirectional LSTM with
    `hidden_size` cells each way, and a linear head; `dropout` is between all of them.
    """

    type: Literal["cnn-bilstm"] = "cnn-bilstm"
    mels: int = Field(default=40, ge=8, le=128)
    channels: int = Field(default=96, ge=8)
    hidden_size: int = Field(default=96, ge=8)
    num_layers: int = Field(default=2, ge=1, le=8)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    augmentation: Augmentation = Augmentation()


class RecognitionGate(Section):
    """Thresholds; edits (insertions, deletions, substitutions) per character and per word of the held-out transcripts,
    and those of the pretrained model before fine-tuning. 0 is best; they may be above 1.
    """

    character_error_rate: Bound | None = None
    word_error_rate: Bound | None = None
    character_error_rate_before: Bound | None = None
    word_error_rate_before: Bound | None = None


class RecognitionComparison(Comparison):
    """`metric` is what the models are compared by."""

    metric: Literal["character_error_rate", "word_error_rate"] = "character_error_rate"


class RecognitionEvaluation(Evaluation):
    """`baseline` is the best constant transcript and, after fine-tuning, the pretrained model. `samples` recordings are
    in the report.
    """

    gate: RecognitionGate = RecognitionGate()
    comparison: RecognitionComparison | None = RecognitionComparison()
    samples: int = Field(default=8, ge=0, le=100)


class Recipe(sections.Recipe):
    """Recordings in; a network that writes down what is spoken, trained on one corpus and then on another."""

    task: Literal["speech_recognition"]
    preprocessing: SpeechPreprocessing = SpeechPreprocessing()
    model: RecognitionModel = RecognitionModel()
    evaluation: RecognitionEvaluation = RecognitionEvaluation()

    measures: ClassVar = {
        "character_error_rate": Measure(value="score", set="characters"),
        "word_error_rate": Measure(value="score", set="words"),
    }

    @model_validator(mode="after")
    def _stages_fit(self) -> "Recipe":
        require_recordings(self)
        require_two(self)
        gate, both = self.evaluation.gate, self.pretraining is not None and self.fine_tuning is not None
        before = gate.character_error_rate_before or gate.word_error_rate_before
        if before is not None and not both:
            raise ValueError("evaluation.gate: an error rate before fine-tuning needs pretraining and fine_tuning")
        if self.fine_tuning is not None and self.fine_tuning.onnx:
            raise ValueError(
                "fine_tuning.onnx: this network reads recordings of any length, which ONNX is not made for"
            )
        return self
