"""The recipe of a translator."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, Tag, model_validator

from modelmill.corpus.text.settings import TokenizedPreparation
from modelmill.recipe import sections
from modelmill.recipe.adapters import AdaptedFineTuning
from modelmill.recipe.measure import LOSS, Measure
from modelmill.recipe.pretrained import PretrainedModel, by_type
from modelmill.recipe.sections import Bound, Comparison, Evaluation, Section


class Languages(Section):
    """Languages of the texts, by the codes that the checkpoint's tokenizer has tokens for, such as `eng_Latn`."""

    source: str | None = Field(
        default=None,
        min_length=1,
        description="Language of the texts; null where the tokenizer has tokens for languages to write alone.",
    )
    target: str | None = Field(default=None, min_length=1, description="Language of the translations.")


class TranslationPreprocessing(TokenizedPreparation):
    """How texts and their translations become tokens.

    Fine-tuning learns pairs; pretraining reads the texts of all training rows, each by itself.
    """

    source: str = Field(default="source", description="Column with the texts.")
    target: str = Field(default="target", description="Column with their translations.")
    split_by: str | None = Field(
        default=None,
        description="Column whose hash decides a record's split; null is the source, so all translations of a text "
        "are in one split.",
    )
    paired: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Fraction of the training rows that fine-tuning sees as pairs, drawn by a hash of the row, so a "
        "larger one adds rows.",
    )
    sequence_length: int = Field(
        default=64, ge=8, le=1024, description="Most tokens of a text, the one that ends it included."
    )
    empty_text: Literal["refuse", "drop"] = Field(
        default="refuse",
        description="What happens to a row with an empty text: `refuse` stops the run, `drop` leaves it out.",
    )
    long_text: Literal["refuse", "drop"] = Field(
        default="refuse",
        description="What happens to a row with a text of more than `sequence_length` tokens: `refuse` stops the run, "
        "`drop` leaves it out.",
    )

    languages: Languages | None = Field(
        default=None,
        description="Languages of a checkpoint that knows several (`model.type: auto`); null for one that does not.",
    )
    prefix: str = Field(
        default="",
        max_length=1000,
        description="What a checkpoint reads before each text (`model.type: auto`), such as T5's "
        "`translate English to German: `.",
    )

    @property
    def codes(self) -> tuple[str | None, str | None]:
        """Return the codes of the languages that are read and written; None where the recipe names none."""
        return (self.languages.source, self.languages.target) if self.languages else (None, None)

    def require_tokenizer(self, folder: Path) -> None:
        """Check that a checkpoint's tokenizer has tokens for the languages; see `Preparation.require_tokenizer`."""
        from modelmill.tasks.translation import languages

        languages.require(folder, *self.codes)

    @model_validator(mode="after")
    def _is_split_by_source(self) -> "TranslationPreprocessing":
        if self.source == self.target:
            raise ValueError(f"source and target are the same column, {self.source!r}")
        if self.split_by is None:
            self.split_by = self.source
        return self


class TranslatorModel(Section):
    """An mBART whose encoder and decoder are alike; meanings are those of `transformers.MBartConfig`."""

    type: Literal["mbart"] = Field(default="mbart", description="Architecture.")
    d_model: int = Field(default=128, ge=8, description="Width of the hidden states.")
    layers: int = Field(default=2, ge=1, le=1024, description="Blocks of the encoder, and as many of the decoder.")
    attention_heads: int = Field(
        default=4, ge=1, description="Attention heads of a block; `d_model` must be a multiple of them."
    )
    ffn_dim: int = Field(default=512, ge=8, description="Width of the feed-forward layers.")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="Dropout of hidden states and of attention weights.")
    infilled: float = Field(default=0.35, gt=0, lt=1, description="Fraction of a text's tokens that pretraining hides.")

    @model_validator(mode="after")
    def _heads_divide(self) -> "TranslatorModel":
        if self.d_model % self.attention_heads:
            raise ValueError("d_model must be a multiple of attention_heads")
        return self


class PretrainedTranslator(PretrainedModel):
    """The encoder and decoder of a checkpoint."""

    heads: ClassVar = ("AutoModelForSeq2SeqLM",)


class TranslationGate(Section):
    """Thresholds of a translator's metrics on the whole test split."""

    chrf: Bound | None = Field(default=None, description="chrF, from 0 to 100 (best).")
    bleu: Bound | None = Field(default=None, description="BLEU, from 0 to 100 (best).")
    loss: Bound | None = Field(default=None, description="Loss, in nats a translation.")


class TranslationComparison(Comparison):
    """How a translator is compared with the champion."""

    metric: Literal["sentence_chrf", "loss"] = Field(
        default="sentence_chrf",
        description="Metric that the models are compared by; `sentence_chrf` is the mean chrF of single translations.",
    )


class TranslationEvaluation(Evaluation):
    """When a translator is good enough, and which samples the report shows."""

    baseline: bool = Field(
        default=True,
        description="Whether `chrf` and `bleu` must exceed those of a dictionary of words, and of letters for unknown "
        "words, made from the same pairs.",
    )
    gate: TranslationGate = TranslationGate()
    comparison: TranslationComparison | None = TranslationComparison()
    samples: int = Field(
        default=10, ge=0, le=100, description="Test texts that the report shows, with reference and translation."
    )


class Recipe(sections.Recipe):
    """Pairs of texts in; a tokenizer and a translator out, pretrained on the texts and fine-tuned on the pairs."""

    task: Literal["translation"]
    preprocessing: TranslationPreprocessing = TranslationPreprocessing()
    model: Annotated[
        Annotated[TranslatorModel, Tag("mbart")] | Annotated[PretrainedTranslator, Tag("auto")], by_type("mbart")
    ] = Field(default=TranslatorModel(), description="The network: an mBART, or that of a checkpoint.")
    fine_tuning: AdaptedFineTuning | None = Field(default=None, description="Second stage of training, on the pairs.")
    evaluation: TranslationEvaluation = TranslationEvaluation()

    measures: ClassVar = {"sentence_chrf": Measure("score", higher_is_better=True), "loss": LOSS}
    libraries: ClassVar = {"evaluation": ("sacrebleu",)}

    @model_validator(mode="after")
    def _learns_pairs(self) -> "Recipe":
        if self.fine_tuning is None:
            raise ValueError("fine_tuning: a translator learns its pairs there, it cannot be none")
        return self

    @model_validator(mode="after")
    def _is_told_languages_where_it_knows_them(self) -> "Recipe":
        if isinstance(self.model, PretrainedTranslator):
            return self
        for key in ("languages", "prefix"):
            if getattr(self.preprocessing, key):
                raise ValueError(f"preprocessing.{key}: for a checkpoint alone; set model.type: auto, or leave it out")
        if self.fine_tuning is not None and self.fine_tuning.adapted:
            raise ValueError("fine_tuning.method: adapters are for a checkpoint; set model.type: auto, or method: full")
        return self
