"""The recipe of a decoder language model."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from modelmill.corpus.text.settings import LanguagePreprocessing
from modelmill.recipe import sections
from modelmill.recipe.adapters import LINEAR
from modelmill.recipe.sections import Pretraining, Registration, Section
from modelmill.tasks.language_modeling.evaluation_settings import JUDGED, MEASURES, LanguageEvaluation, require_measured
from modelmill.tasks.language_modeling.objectives.settings import LanguageFineTuning, require_source


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
    fine_tuning: LanguageFineTuning | None
    evaluation: LanguageEvaluation = LanguageEvaluation()
    registration: LanguageRegistration

    measures: ClassVar = MEASURES

    @model_validator(mode="after")
    def _stages_fit(self) -> "Recipe":
        if self.fine_tuning is not None and self.preprocessing.pairs is None:
            raise ValueError("fine_tuning needs preprocessing.pairs, or set fine_tuning: none")
        if self.fine_tuning is not None and self.preprocessing.pairs is not None:
            require_source(self.fine_tuning, self.preprocessing.pairs.source)
        if self.fine_tuning is not None and self.fine_tuning.teacher and self.preprocessing.tokenizer.source is None:
            raise ValueError(
                "fine_tuning.objective: distil needs the teacher's tokenizer: set preprocessing.tokenizer.from to a "
                "model that has it"
            )
        unknown = sorted(set(self.fine_tuning.named_modules) - {*LINEAR, "lm_head"}) if self.fine_tuning else []
        if unknown and (self.pretraining is None or self.pretraining.init == "random"):
            raise ValueError(
                f"fine_tuning.lora.target_modules: the model has no module {unknown[0]!r}; it has {', '.join(LINEAR)}"
            )
        pairs = self.preprocessing.pairs if self.fine_tuning is not None else None
        require_measured(self.evaluation, pairs.source if pairs else None, is_pretrained=self.pretraining is not None)
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

    def metric(self, is_fine_tuned: bool, corpus: Mapping[str, Any]) -> str:
        """Return the name of the metric that models are compared by; the recipe has a comparison.

        Args:
            is_fine_tuned: Whether the model is one that was fine-tuned.
            corpus: What the manifest of its corpus says.
        """
        chosen = super().metric(is_fine_tuned, corpus)
        if chosen != "auto":
            return chosen
        learned = corpus.get("frame", {}).get("kind", "")
        return JUDGED.get(learned, "response_bits_per_byte") if is_fine_tuned else "bits_per_byte"

    def metric_of_answers(self, kind: str) -> str:
        """Return the metric that must be better than before fine-tuning where answers are compared or judged.

        Args:
            kind: `preferences` or `labelled`.
        """
        comparison = self.evaluation.comparison
        if comparison is not None and comparison.metric == "preference_margin":
            return comparison.metric
        return JUDGED[kind]
