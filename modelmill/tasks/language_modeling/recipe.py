"""The recipe of a decoder language model."""

import re
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from modelmill.corpus.text.settings import LanguagePreprocessing
from modelmill.recipe import sections
from modelmill.recipe.adapters import LINEAR, AdaptedFineTuning
from modelmill.recipe.measure import BITS, Measure
from modelmill.recipe.sections import Bound, Comparison, Evaluation, Pretraining, Registration, Section


class DecoderModel(Section):
    """A Llama-shaped decoder; names and meanings are those of `transformers.LlamaConfig`."""

    type: Literal["llama"] = Field(default="llama", description="Architecture.")
    hidden_size: int = Field(default=192, ge=8, description="Width of the hidden states.")
    num_hidden_layers: int = Field(default=4, ge=1, le=1024, description="Blocks of attention and feed-forward layers.")
    num_attention_heads: int = Field(
        default=3, ge=1, description="Attention heads of a block; `hidden_size` must be an even multiple of them."
    )
    num_key_value_heads: int | None = Field(
        default=None,
        ge=1,
        description="Heads of keys and values, which queries share; null: as many as attention heads.",
    )
    intermediate_size: int = Field(default=512, ge=8, description="Width of the feed-forward layers.")
    tie_word_embeddings: bool = Field(
        default=True, description="Whether the last layer shares the weights of the embedding."
    )
    attention_dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout of attention weights, in training.")

    @model_validator(mode="after")
    def _heads_divide(self) -> "DecoderModel":
        if self.hidden_size % (2 * self.num_attention_heads):
            raise ValueError("hidden_size must be an even multiple of num_attention_heads")
        if self.num_attention_heads % (self.num_key_value_heads or self.num_attention_heads):
            raise ValueError("num_attention_heads must be a multiple of num_key_value_heads")
        return self


class LanguageGate(Section):
    """Thresholds of a language model's metrics on held-out documents and pairs."""

    bits_per_byte: Bound | None = Field(
        default=None, description="Bits per byte of held-out documents, by the pretrained model."
    )
    loss_before: Bound | None = Field(
        default=None, description="Loss on held-out pairs before fine-tuning, in nats a token."
    )
    loss_after: Bound | None = Field(
        default=None, description="Loss on held-out pairs after fine-tuning, in nats a token."
    )
    response_bits_per_byte: Bound | None = Field(
        default=None, description="Bits per byte of the responses of held-out pairs, after fine-tuning."
    )


class LanguageComparison(Comparison):
    """How a language model is compared with the champion; no metric depends on the tokenizer."""

    metric: Literal["auto", "bits_per_byte", "response_bits_per_byte"] = Field(
        default="auto",
        description="Metric that the models are compared by; `auto` is `response_bits_per_byte` where pairs are "
        "learned, else `bits_per_byte`.",
    )


class LanguageEvaluation(Evaluation):
    """When a language model is good enough, and which samples the report shows."""

    baseline: bool = Field(
        default=True,
        description="Whether `bits_per_byte` must be below that of token frequencies and of n-grams, and `loss_after` "
        "below `loss_before`; without `documents`: `response_bits_per_byte` below that of n-grams and of the model "
        "before fine-tuning, by more than chance.",
    )
    gate: LanguageGate = LanguageGate()
    comparison: LanguageComparison | None = LanguageComparison()
    ngram_order: int = Field(
        default=2,
        ge=1,
        le=5,
        description="Tokens of the baseline's n-grams, counted in the first 20 million training tokens, which takes "
        "up to 1.8 GiB.",
    )
    documents: bool = Field(
        default=True,
        description="Whether held-out documents are scored, all of them; false is for a model that is fine-tuned only.",
    )
    samples: int = Field(default=3, ge=0, le=100, description="Responses that are generated for the report.")
    sample_tokens: int = Field(default=48, ge=1, le=4096, description="Most tokens of a generated response.")
    pair_windows: int = Field(
        default=128,
        ge=1,
        description="Most packed windows of held-out pairs, of `sequence_length` tokens, that are scored.",
    )


class LanguageRegistration(Registration):
    """Where a language model is registered, and in which form."""

    form: Literal["merged", "adapter"] = Field(
        default="merged",
        description="What is registered after `lora` or `dora`: the whole model (`merged`), or the adapters with the "
        "name and digest of their base (`adapter`), which must be a registered version and is joined with them when "
        "the model is loaded.",
    )


class Recipe(sections.Recipe):
    """Text in; a tokenizer and a decoder out, pretrained on documents and fine-tuned on pairs."""

    task: Literal["language_modeling"]
    preprocessing: LanguagePreprocessing = LanguagePreprocessing()
    model: DecoderModel = DecoderModel()
    pretraining: Pretraining | None
    fine_tuning: AdaptedFineTuning | None
    evaluation: LanguageEvaluation = LanguageEvaluation()
    registration: LanguageRegistration

    measures: ClassVar = {
        "bits_per_byte": Measure(per="bytes", set="documents", model="before", scale=BITS),
        "response_bits_per_byte": Measure(per="bytes", set="pairs", scale=BITS),
    }

    @model_validator(mode="after")
    def _stages_fit(self) -> "Recipe":
        if self.fine_tuning is not None and self.preprocessing.pairs is None:
            raise ValueError("fine_tuning needs preprocessing.pairs, or set fine_tuning: none")
        unknown = sorted(set(self.fine_tuning.named_modules) - {*LINEAR, "lm_head"}) if self.fine_tuning else []
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
        if not self.evaluation.documents and self.fine_tuning is None:
            raise ValueError("evaluation.documents: false leaves nothing to score, because fine_tuning is none")
        if not self.evaluation.documents and gate.bits_per_byte is not None:
            raise ValueError("evaluation.gate.bits_per_byte needs evaluation.documents: true")
        if not self.evaluation.documents and comparison is not None and comparison.metric == "bits_per_byte":
            raise ValueError("evaluation.comparison.metric: bits_per_byte needs evaluation.documents: true")
        if gate.loss_before is not None and (self.pretraining is None or self.fine_tuning is None):
            raise ValueError("evaluation.gate.loss_before needs pretraining and fine_tuning")
        return self

    @model_validator(mode="after")
    def _reads_nested_columns_as_text(self) -> "Recipe":
        """Choose text for columns of messages: their JSON has what Arrow's types lose, such as the order of keys."""
        pairs = self.preprocessing.pairs
        chosen = dict.fromkeys(pairs.nested if pairs else [], "text") | self.data.columns
        if chosen != self.data.columns:
            self.data = self.data.model_copy(update={"columns": chosen})
        return self

    @model_validator(mode="after")
    def _adapter_has_a_base(self) -> "Recipe":
        """Check that the base of an adapter will be there, unchanged, wherever the adapter is served."""
        if self.registration.form != "adapter":
            return self
        if self.fine_tuning is None or not self.fine_tuning.adapted:
            raise ValueError("registration.form: adapter needs fine_tuning.method lora or dora, or set form: merged")
        init = self.pretraining.init if self.pretraining else "random"
        if not re.fullmatch(r"models:/[^/@]+/\d+", init):
            raise ValueError(
                "registration.form: adapter needs a registered base, which a served model can fetch: set "
                f"pretraining.init to models:/NAME/VERSION, it is {init}; or set form: merged"
            )
        if self.pretraining is not None and self.pretraining.steps:
            raise ValueError(
                "registration.form: adapter needs pretraining.steps: 0, because the base must stay the registered one; "
                "or set form: merged"
            )
        return self

    def metric(self, is_fine_tuned: bool) -> str:
        """Return the name of the metric that models are compared by; the recipe has a comparison.

        Args:
            is_fine_tuned: Whether the model is one that was fine-tuned.
        """
        chosen = super().metric(is_fine_tuned)
        if chosen != "auto":
            return chosen
        return "response_bits_per_byte" if is_fine_tuned else "bits_per_byte"
