"""The recipe of a classifier of texts."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, Tag, model_validator

from modelmill.corpus.text.settings import TokenizedPreparation
from modelmill.recipe import sections
from modelmill.recipe.adapters import AdaptedFineTuning
from modelmill.recipe.classification import MEASURES, ClassifierComparison, ClassifierGate
from modelmill.recipe.measure import Measure
from modelmill.recipe.pretrained import PretrainedModel, by_type
from modelmill.recipe.sections import Bound, Evaluation, Pretraining, Section


class TextPreprocessing(TokenizedPreparation):
    """How texts become tokens, and which labels fine-tuning learns; pretraining reads all texts."""

    text: str = Field(default="text", description="Column with the texts.")
    text_pair: str | None = Field(
        default=None,
        description="Column with second texts, such as answers to questions, which the model reads with the first as a "
        "pair; null: texts stand alone.",
    )
    label: str = Field(default="label", description="Column with the class, with a list of labels, or with a number.")
    label_kind: Literal["single", "multi", "number"] = Field(
        default="single",
        description="What a text has: one class (`single`), a list of any number of labels (`multi`), or a `number` "
        "that the model predicts.",
    )
    labels: list[str] | None = Field(
        default=None,
        min_length=2,
        description="Classes that the model tells apart; null takes those of the training rows.",
    )
    labelled: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Fraction of the training rows whose label fine-tuning sees, drawn by a hash of the row, so a "
        "larger one adds rows.",
    )
    sequence_length: int = Field(
        default=64,
        ge=8,
        le=4096,
        description="Tokens of a text, those at its ends included; longer texts lose their end.",
    )
    unknown_label: Literal["refuse", "drop"] = Field(
        default="refuse",
        description="What happens to a row whose label is not a class: `refuse` stops the run, `drop` leaves it out.",
    )
    empty_text: Literal["refuse", "drop"] = Field(
        default="refuse",
        description="What happens to a row whose text is only white space: `refuse` stops the run, `drop` leaves it "
        "out.",
    )

    @model_validator(mode="after")
    def _labels_differ(self) -> "TextPreprocessing":
        if self.labels and self.label_kind == "number":
            raise ValueError("labels: label_kind: number has no classes to list; leave it out")
        twice = [label for label in self.labels or [] if (self.labels or []).count(label) > 1]
        if twice:
            raise ValueError(f"labels: {twice[0]!r} is there twice")
        return self


class EncoderModel(Section):
    """A BERT encoder; names and meanings are those of `transformers.BertConfig`."""

    type: Literal["bert"] = Field(default="bert", description="Architecture.")
    hidden_size: int = Field(default=128, ge=8, description="Width of the hidden states.")
    num_hidden_layers: int = Field(default=2, ge=1, le=1024, description="Blocks of attention and feed-forward layers.")
    num_attention_heads: int = Field(
        default=4, ge=1, description="Attention heads of a block; `hidden_size` must be a multiple of them."
    )
    intermediate_size: int = Field(default=512, ge=8, description="Width of the feed-forward layers.")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="Dropout of hidden states and of attention weights.")
    masked: float = Field(default=0.15, gt=0, lt=1, description="Fraction of a text's tokens that pretraining hides.")

    @model_validator(mode="after")
    def _heads_divide(self) -> "EncoderModel":
        if self.hidden_size % self.num_attention_heads:
            raise ValueError("hidden_size must be a multiple of num_attention_heads")
        return self


class PretrainedEncoder(PretrainedModel):
    """The network of a checkpoint, such as BERT, RoBERTa, ModernBERT or DeBERTa, with a head for classes."""

    heads: ClassVar = ("AutoModelForSequenceClassification",)


class TextGate(ClassifierGate):
    """Thresholds of metrics on the test split; each kind of label has its own."""

    f1: Bound | None = Field(default=None, description="F1 over all labels of all texts; with `label_kind: multi`.")
    precision: Bound | None = Field(default=None, description="Fraction of the labels found that are right; as `f1`.")
    recall: Bound | None = Field(default=None, description="Fraction of the true labels that are found; as `f1`.")
    macro_f1: Bound | None = Field(default=None, description="Mean of the labels' F1; as `f1`.")
    text_f1: Bound | None = Field(default=None, description="Mean of the texts' F1; as `f1`.")
    rmse: Bound | None = Field(default=None, description="Root mean squared error; with `label_kind: number`.")
    mae: Bound | None = Field(default=None, description="Mean absolute error; as `rmse`.")
    r2: Bound | None = Field(default=None, description="Fraction of the variance that is explained; as `rmse`.")
    pearson: Bound | None = Field(default=None, description="Pearson's correlation; as `rmse`.")
    spearman: Bound | None = Field(default=None, description="Spearman's rank correlation; as `rmse`.")


class TextComparison(ClassifierComparison):
    """How a model is compared with the champion."""

    metric: Literal["loss", "accuracy", "text_f1"] = "loss"  # type: ignore[assignment]


# What is measured, by the kind of label.
METRICS = {
    "single": ("accuracy", "roc_auc", "loss", "ece"),
    "multi": ("f1", "precision", "recall", "macro_f1", "text_f1", "accuracy", "roc_auc", "loss", "ece"),
    "number": ("rmse", "mae", "r2", "pearson", "spearman", "loss"),
}


class TextEvaluation(Evaluation):
    """When a classifier of texts is good enough, and which samples the report shows."""

    baseline: bool = Field(
        default=True,
        description="Whether `loss` must be below that of the classes' shares, and `loss` and `accuracy` (`f1` of "
        "`multi`) must beat TF-IDF with logistic regression on the same labels; of `number`, `rmse` the mean and ridge "
        "regression.",
    )
    gate: TextGate = TextGate()
    comparison: TextComparison | None = TextComparison()
    samples: int = Field(
        default=10, ge=0, le=100, description="Test texts that the report shows, with the class and the model's answer."
    )


class Recipe(sections.Recipe):
    """Texts in; a tokenizer and an encoder out, pretrained on all texts and fine-tuned on labels."""

    task: Literal["text_classification"]
    preprocessing: TextPreprocessing = TextPreprocessing()
    model: Annotated[
        Annotated[EncoderModel, Tag("bert")] | Annotated[PretrainedEncoder, Tag("auto")], by_type("bert")
    ] = EncoderModel()
    pretraining: Pretraining | None
    fine_tuning: AdaptedFineTuning | None
    evaluation: TextEvaluation = TextEvaluation()

    measures: ClassVar = MEASURES | {"text_f1": Measure("score", higher_is_better=True)}

    @model_validator(mode="after")
    def _learns_labels(self) -> "Recipe":
        if self.fine_tuning is None:
            raise ValueError("fine_tuning: a classifier learns its labels there, it cannot be none")
        return self

    @model_validator(mode="after")
    def _measures_its_kind(self) -> "Recipe":
        kind = self.preprocessing.label_kind
        known = METRICS[kind]
        if unknown := sorted(self.evaluation.gate.model_dump(exclude_none=True).keys() - set(known)):
            raise ValueError(
                f"evaluation.gate.{unknown[0]}: label_kind: {kind} has no such metric, but {', '.join(known)}"
            )
        compared = self.evaluation.comparison.metric if self.evaluation.comparison else "loss"
        if compared not in known:
            raise ValueError(f"evaluation.comparison.metric: label_kind: {kind} has no {compared}; set loss")
        if kind != "single" and self.fine_tuning is not None and self.fine_tuning.label_smoothing:
            raise ValueError(f"fine_tuning.label_smoothing: label_kind: {kind} has no classes to spread it over; set 0")
        return self
