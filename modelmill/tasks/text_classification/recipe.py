"""The recipe of a classifier of texts."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from modelmill.corpus.text.settings import Tokenizer
from modelmill.recipe import sections
from modelmill.recipe.classification import MEASURES, ClassifierComparison, ClassifierGate
from modelmill.recipe.sections import Evaluation, FineTuning, Preparation, Pretraining, Section


class TextPreprocessing(Preparation):
    """`text` and `label` are columns. Texts longer than `sequence_length` tokens lose their end.

    `labels` are the classes; without them those of the training rows. Of these, fine-tuning sees the labels of a share
    `labelled`, drawn by a hash of the row; pretraining reads all texts. A row with another label, or with an empty
    text, is refused or dropped.
    """

    tokenizer: Tokenizer = Tokenizer()
    text: str = "text"
    label: str = "label"
    labels: list[str] | None = Field(default=None, min_length=2)
    labelled: float = Field(default=1.0, gt=0, le=1)
    sequence_length: int = Field(default=64, ge=8, le=4096)
    unknown_label: Literal["refuse", "drop"] = "refuse"
    empty_text: Literal["refuse", "drop"] = "refuse"

    @model_validator(mode="after")
    def _labels_differ(self) -> "TextPreprocessing":
        twice = [label for label in self.labels or [] if (self.labels or []).count(label) > 1]
        if twice:
            raise ValueError(f"labels: {twice[0]!r} is there twice")
        return self


class EncoderModel(Section):
    """A BERT encoder; names and meanings are those of `transformers.BertConfig`, where `dropout` is that of hidden
    states and of attention. `masked` is the share of tokens that pretraining hides.
    """

    type: Literal["bert"] = "bert"
    hidden_size: int = Field(default=128, ge=8)
    num_hidden_layers: int = Field(default=2, ge=1)
    num_attention_heads: int = Field(default=4, ge=1)
    intermediate_size: int = Field(default=512, ge=8)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    masked: float = Field(default=0.15, gt=0, lt=1)

    @model_validator(mode="after")
    def _heads_divide(self) -> "EncoderModel":
        if self.hidden_size % self.num_attention_heads:
            raise ValueError("hidden_size must be a multiple of num_attention_heads")
        return self


class TextEvaluation(Evaluation):
    """`baseline` is the shares of the classes, and TF-IDF with logistic regression on the same labels. `samples` texts
    are shown.
    """

    gate: ClassifierGate = ClassifierGate()
    comparison: ClassifierComparison | None = ClassifierComparison()
    samples: int = Field(default=10, ge=0, le=100)


class Recipe(sections.Recipe):
    """Texts in; a tokenizer and an encoder out, pretrained on all texts and fine-tuned on labels."""

    task: Literal["text_classification"]
    preprocessing: TextPreprocessing = TextPreprocessing()
    model: EncoderModel = EncoderModel()
    pretraining: Pretraining | None
    fine_tuning: FineTuning | None
    evaluation: TextEvaluation = TextEvaluation()

    measures: ClassVar = MEASURES

    @model_validator(mode="after")
    def _learns_labels(self) -> "Recipe":
        if self.fine_tuning is None:
            raise ValueError("fine_tuning: a classifier learns its labels there, it cannot be none")
        return self
