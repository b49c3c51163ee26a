"""The recipe of a decoder language model."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from modelmill.corpus.text.settings import LanguagePreprocessing
from modelmill.recipe import sections
from modelmill.recipe.adapters import LINEAR, AdaptedFineTuning
from modelmill.recipe.measure import BITS, Measure
from modelmill.recipe.sections import Bound, Comparison, Evaluation, Pretraining, Section


class DecoderModel(Section):
    """A Llama-shaped decoder; the names and meanings are those of `transformers.LlamaConfig`."""

    type: Literal["llama"] = "llama"
    hidden_size: int = Field(default=192, ge=8)
    num_hidden_layers: int = Field(default=4, ge=1)
    num_attention_heads: int = Field(default=3, ge=1)
    num_key_value_heads: int | None = Field(default=None, ge=1)
    intermediate_size: int = Field(default=512, ge=8)
    tie_word_embeddings: bool = True
    attention_dropout: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _heads_divide(self) -> "DecoderModel":
        if self.hidden_size % (2 * self.num_attention_heads):
            raise ValueError("hidden_size must be an even multiple of num_attention_heads")
        if self.num_attention_heads % (self.num_key_value_heads or self.num_attention_heads):
            raise ValueError("num_attention_heads must be a multiple of num_key_value_heads")
        return self


class LanguageGate(Section):
    """Thresholds; bits per byte of the pretrained model, nats per token of pairs before and after fine-tuning, and bits
    per byte of their responses after it.
    """

    bits_per_byte: Bound | None = None
    loss_before: Bound | None = None
    loss_after: Bound | None = None
    response_bits_per_byte: Bound | None = None


class LanguageComparison(Comparison):
    """`metric` is what the models are compared by; `auto` is `response_bits_per_byte` where pairs were learned. Both do
    not depend on the tokenizer.
    """

    metric: Literal["auto", "bits_per_byte", "response_bits_per_byte"] = "auto"


class LanguageEvaluation(Evaluation):
    """`baseline` is the frequencies of the tokens in the training split, n-grams of `ngram_order` of them and, where
    pairs are learned, the model before fine-tuning. `samples` responses of at most `sample_tokens` tokens are made; of
    held-out pairs, at most `pair_windows` packed windows of `sequence_length` tokens are scored.
    """

    gate: LanguageGate = LanguageGate()
    comparison: LanguageComparison | None = LanguageComparison()
    ngram_order: int = Field(default=2, ge=1, le=5)
    samples: int = Field(default=3, ge=0, le=100)
    sample_tokens: int = Field(default=48, ge=1, le=4096)
    pair_windows: int = Field(default=128, ge=1)


class Recipe(sections.Recipe):
    """Text in; a tokenizer and a decoder out, pretrained on documents and fine-tuned on pairs."""

    task: Literal["language_modeling"]
    preprocessing: LanguagePreprocessing = LanguagePreprocessing()
    model: DecoderModel = DecoderModel()
    pretraining: Pretraining | None
    fine_tuning: AdaptedFineTuning | None
    evaluation: LanguageEvaluation = LanguageEvaluation()

    measures: ClassVar = {
        "bits_per_byte": Measure(per="bytes", set="documents", model="before", scale=BITS),
        "response_bits_per_byte": Measure(per="bytes", set="pairs", scale=BITS),
    }

    @model_validator(mode="after")
    def _stages_fit(self) -> "Recipe":
        if self.fine_tuning is not None and self.preprocessing.pairs is None:
            raise ValueError("fine_tuning needs preprocessing.pairs, or set fine_tuning: none")
        unknown = sorted(set(self.fine_tuning.adapted) - {*LINEAR, "lm_head"}) if self.fine_tuning else []
        if unknown and (self.pretraining is None or self.pretraining.init == "random"):
            raise ValueError(
                f"fine_tuning.lora.target_modules: the model has no module {unknown[0]!r}; it has {', '.join(LINEAR)}"
            )
        gate, comparison = self.evaluation.gate, self.evaluation.comparison
        for key in ("loss_after", "response_bits_per_byte"):
            if getattr(gate, key) is not None and self.fine_tuning is None:
                raise ValueError(f"evaluation.gate.{key} needs fine_tuning, which is none")
        if self.fine_tuning is None and comparison is not None and comparison.metric == "response_bits_per_byte":
            raise ValueError("evaluation.comparison.metric: response_bits_per_byte needs fine_tuning, which is none")
        if gate.loss_before is not None and (self.pretraining is None or self.fine_tuning is None):
            raise ValueError("evaluation.gate.loss_before needs pretraining and fine_tuning")
        return self

    def metric(self, is_fine_tuned: bool) -> str:
        chosen = super().metric(is_fine_tuned)
        if chosen != "auto":
            return chosen
        return "response_bits_per_byte" if is_fine_tuned else "bits_per_byte"
