"""The recipe of a translator."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from modelmill.corpus.text.settings import Tokenizer
from modelmill.recipe import sections
from modelmill.recipe.measure import LOSS, Measure
from modelmill.recipe.sections import Bound, Comparison, Evaluation, Preparation, Section


class TranslationPreprocessing(Preparation):
    """`source` and `target` are the columns with a text and its translation.

    Of the training rows, fine-tuning sees a share `paired` as pairs, drawn by a hash of the row; pretraining reads the
    texts of all of them, each by itself. A row with an empty text, or with one of more than `sequence_length` tokens,
    is refused or dropped. Without `split_by`, all translations of a text are in one split.
    """

    tokenizer: Tokenizer = Tokenizer()
    source: str = "source"
    target: str = "target"
    paired: float = Field(default=1.0, gt=0, le=1)
    sequence_length: int = Field(default=64, ge=8, le=1024)
    empty_text: Literal["refuse", "drop"] = "refuse"
    long_text: Literal["refuse", "drop"] = "refuse"

    @model_validator(mode="after")
    def _is_split_by_source(self) -> "TranslationPreprocessing":
        if self.source == self.target:
            raise ValueError(f"source and target are the same column, {self.source!r}")
        if self.split_by is None:
            self.split_by = self.source
        return self


class TranslatorModel(Section):
    """An mBART; names and meanings are those of `transformers.MBartConfig`, with as many layers, heads and feed-forward
    units in the encoder as in the decoder. `dropout` is that of hidden states and of attention. `infilled` is the share
    of a text's tokens that pretraining hides.
    """

    type: Literal["mbart"] = "mbart"
    d_model: int = Field(default=128, ge=8)
    layers: int = Field(default=2, ge=1)
    attention_heads: int = Field(default=4, ge=1)
    ffn_dim: int = Field(default=512, ge=8)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    infilled: float = Field(default=0.35, gt=0, lt=1)

    @model_validator(mode="after")
    def _heads_divide(self) -> "TranslatorModel":
        if self.d_model % self.attention_heads:
            raise ValueError("d_model must be a multiple of attention_heads")
        return self


class TranslationGate(Section):
    """Thresholds; `chrf` and `bleu` are of the whole test split, from 0 to 100, `loss` is nats a translation."""

    chrf: Bound | None = None
    bleu: Bound | None = None
    loss: Bound | None = None


class TranslationComparison(Comparison):
    """`metric` is what the models are compared by; `sentence_chrf` is the mean of that of each translation."""

    metric: Literal["sentence_chrf", "loss"] = "sentence_chrf"


class TranslationEvaluation(Evaluation):
    """`baseline` is a dictionary of words, and of letters for words that it does not know, made from the same pairs.
    `samples` translations are shown.
    """

    gate: TranslationGate = TranslationGate()
    comparison: TranslationComparison | None = TranslationComparison()
    samples: int = Field(default=10, ge=0, le=100)


class Recipe(sections.Recipe):
    """Pairs of texts in; a tokenizer and a translator out, pretrained on the texts and fine-tuned on the pairs."""

    task: Literal["translation"]
    preprocessing: TranslationPreprocessing = TranslationPreprocessing()
    model: TranslatorModel = TranslatorModel()
    evaluation: TranslationEvaluation = TranslationEvaluation()

    measures: ClassVar = {"sentence_chrf": Measure("score", higher_is_better=True), "loss": LOSS}
    libraries: ClassVar = {"evaluation": ("sacrebleu",)}

    @model_validator(mode="after")
    def _learns_pairs(self) -> "Recipe":
        if self.fine_tuning is None:
            raise ValueError("fine_tuning: a translator learns its pairs there, it cannot be none")
        return self
