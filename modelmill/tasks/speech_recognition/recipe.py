"""The recipe of a speech recogniser."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, Tag, model_validator

from modelmill.corpus.settings import require_two
from modelmill.corpus.speech.settings import SpeechPreprocessing, require_recordings
from modelmill.recipe import sections
from modelmill.recipe.adapters import AdaptedFineTuning
from modelmill.recipe.measure import Measure
from modelmill.recipe.pretrained import AUTO, PretrainedModel, by_type
from modelmill.recipe.sections import Bound, Comparison, Evaluation, Section


class Augmentation(Section):
    """Changes of a recording in training, drawn anew each time it is seen."""

    speed: float = Field(
        default=0.1,
        ge=0,
        le=0.5,
        description="Greatest change of a batch's speed, as a fraction (Ko et al., 2015, "
        "https://www.isca-archive.org/interspeech_2015/ko15_interspeech.html).",
    )
    noise: float | None = Field(
        default=10.0,
        ge=-20,
        le=100,
        description="Loudest white noise, in dB below the recording; it is up to 30 dB softer. Null adds none.",
    )
    time_masks: int = Field(
        default=2,
        ge=0,
        le=20,
        description="Spans of frames that are blanked (SpecAugment; Park et al., 2019, "
        "https://arxiv.org/abs/1904.08779).",
    )
    time_share: float = Field(
        default=0.1, ge=0, le=1, description="Greatest length of such a span, as a fraction of the recording's frames."
    )
    frequency_masks: int = Field(default=2, ge=0, le=20, description="Spans of mel bands that are blanked.")
    frequency_width: int = Field(default=6, ge=0, le=100, description="Most mel bands of such a span.")


class Processor(Section):
    """The feature extractor and tokenizer of a checkpoint."""

    source: str | None = Field(
        default=None,
        alias="from",
        description="Checkpoint whose feature extractor and tokenizer prepare recordings and transcripts: a folder, "
        "`s3://BUCKET/PREFIX`, `hf://ORG/NAME@REVISION` or `models:/NAME/VERSION`; null is that of `pretraining.init`.",
    )


class RecognitionPreprocessing(SpeechPreprocessing):
    """How recordings with transcripts become examples of a recogniser.

    With `model.type: auto` recordings of another rate are resampled, and letters keep their case, unless the recipe
    says otherwise.
    """

    processor: Processor = Field(
        default=Processor(), description="Feature extractor and tokenizer of a checkpoint, for `model.type: auto`."
    )
    vocabulary: Literal["auto", "checkpoint", "transcripts"] = Field(
        default="auto",
        description="Tokens of a checkpoint's CTC head: those of the `checkpoint`, or new ones for the characters of "
        "the training `transcripts`, with a new head. `auto` takes new ones where the checkpoint's lack a character.",
    )
    language: str | None = Field(
        default=None,
        min_length=2,
        description="Language of the transcripts, as Whisper names it: a code such as `de`, or a name; null for a "
        "checkpoint of one language.",
    )

    @property
    def checkpoint_key(self) -> str:
        """Return the recipe's key that names the given checkpoint."""
        return sections.PROCESSOR

    @property
    def given_checkpoint(self) -> str | None:
        """Return the model whose feature extractor and tokenizer are taken; None where none is."""
        return self.processor.source

    def with_checkpoint(self, source: str) -> "RecognitionPreprocessing":
        """Return these settings with feature extractor and tokenizer taken from elsewhere.

        Args:
            source: A folder, `s3://BUCKET/PREFIX`, `hf://ORG/NAME@REVISION` or `models:/NAME/VERSION`.
        """
        return self.model_copy(update={"processor": Processor(**{"from": source})})

    def require_processor(self, folder: Path) -> None:
        """Check that a checkpoint hears these recordings and writes this language; see `Preparation`."""
        from modelmill.tasks.speech_recognition import asking

        asking.require(folder, self.sample_rate, self.max_seconds, self.language)


class PretrainedRecogniser(PretrainedModel):
    """The network of a checkpoint, with a CTC head or a decoder; which one the checkpoint decides."""

    heads: ClassVar = ("AutoModelForCTC", "AutoModelForSpeechSeq2Seq")


class RecognitionModel(Section):
    """Log-mel spectra, two convolutions, a bidirectional LSTM and a linear head."""

    type: Literal["cnn-bilstm"] = Field(default="cnn-bilstm", description="Architecture.")
    mels: int = Field(default=40, ge=8, le=128, description="Mel bands of the spectra.")
    channels: int = Field(
        default=96, ge=8, description="Channels of the two convolutions, the first of which halves the frames."
    )
    hidden_size: int = Field(default=96, ge=8, description="Cells of the LSTM, each way.")
    num_layers: int = Field(default=2, ge=1, le=8, description="Layers of the LSTM.")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="Dropout after each convolution and layer.")
    augmentation: Augmentation = Field(
        default=Augmentation(), description="Changes of a recording in training, drawn anew each time it is seen."
    )


class RecognitionGate(Section):
    """Thresholds of the error rates on held-out recordings.

    An error rate is the number of insertions, deletions and substitutions, divided by the length of the transcripts: 0
    is best, and it may be above 1.
    """

    character_error_rate: Bound | None = Field(default=None, description="Errors per character.")
    word_error_rate: Bound | None = Field(default=None, description="Errors per word.")
    character_error_rate_before: Bound | None = Field(
        default=None, description="Errors per character of the pretrained model, before fine-tuning."
    )
    word_error_rate_before: Bound | None = Field(
        default=None, description="Errors per word of the pretrained model, before fine-tuning."
    )


class RecognitionComparison(Comparison):
    """How a recogniser is compared with the champion."""

    metric: Literal["character_error_rate", "word_error_rate"] = "character_error_rate"


class RecognitionEvaluation(Evaluation):
    """When a recogniser is good enough, and which samples the report has."""

    baseline: bool = Field(
        default=True,
        description="Whether both error rates must be below those of the best constant transcript and, after "
        "fine-tuning, of the pretrained model.",
    )
    gate: RecognitionGate = RecognitionGate()
    comparison: RecognitionComparison | None = RecognitionComparison()
    samples: int = Field(default=8, ge=0, le=100, description="Recordings that the report has, with what was heard.")


class Recipe(sections.Recipe):
    """Recordings in; a network that writes down what is spoken, trained on one corpus and then on another."""

    task: Literal["speech_recognition"]
    preprocessing: RecognitionPreprocessing = RecognitionPreprocessing()
    model: Annotated[
        Annotated[RecognitionModel, Tag("cnn-bilstm")] | Annotated[PretrainedRecogniser, Tag(AUTO)],
        by_type("cnn-bilstm"),
    ] = RecognitionModel()
    fine_tuning: AdaptedFineTuning | None = Field(default=None, description="Second stage of training, or `none`.")
    evaluation: RecognitionEvaluation = RecognitionEvaluation()

    measures: ClassVar = {
        "character_error_rate": Measure(value="score", set="characters"),
        "word_error_rate": Measure(value="score", set="words"),
    }

    @model_validator(mode="after")
    def _keys_are_the_models(self) -> "Recipe":
        settings = self.preprocessing
        if isinstance(self.model, PretrainedRecogniser):
            given = settings.model_fields_set
            changed = {"resample": True, "lowercase": False}
            changed = {key: value for key, value in changed.items() if key not in given}
            self.preprocessing = settings.model_copy(update=changed) if changed else settings
            return self
        for key in ("processor", "vocabulary", "language"):
            if getattr(settings, key) != type(settings).model_fields[key].default:
                raise ValueError(f"preprocessing.{key}: it is of a checkpoint; set model.type: auto")
        if self.fine_tuning is not None and self.fine_tuning.adapted:
            raise ValueError(
                f"fine_tuning.method: {self.fine_tuning.method} adapts a checkpoint; set model.type: auto, or full"
            )
        return self

    @model_validator(mode="after")
    def _stages_fit(self) -> "Recipe":
        require_recordings(self)
        if not isinstance(self.model, PretrainedRecogniser):
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
