"""The recipe of a decoder language model."""

from typing import Literal

from pydantic import Field, model_validator

from components.common.recipe.sections import (
    Bound,
    Comparison,
    Data,
    Evaluation,
    FineTuning,
    Name,
    Preparation,
    Pretraining,
    Registration,
    Section,
    StepResources,
)

# The linear layers of a block, by their names in `transformers`.
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class Tokenizer(Section):
    """A byte-level BPE tokenizer: trained with `vocab_size`, or taken whole `from` a model folder or version."""

    vocab_size: int = Field(default=4096, ge=260, le=65_536)
    source: str | None = Field(default=None, alias="from")


class Pairs(Section):
    """Where fine-tuning pairs come from.

    `python_docstrings`: from Python source, a function without its docstring -> the docstring.
    `columns`: from two columns of the data, named by `prompt` and `response`.
    `framing` says how the model sees them: with a `separator` between them, or as the `chat` of a user and an assistant
    that the chat template of the tokenizer `from` elsewhere makes of them.
    """

    source: Literal["python_docstrings", "columns"] = Field(alias="from")
    prompt: str = "prompt"
    response: str = "response"
    framing: Literal["separator", "chat"] = "separator"


class NearDuplicates(Section):
    """Documents whose sets of runs of so many `words` are at least so `similar` (Jaccard), as far as MinHash with so
    many `permutations` tells.
    """

    similarity: float = Field(default=0.8, gt=0, lt=1)
    permutations: int = Field(default=128, ge=16, le=1024)
    words: int = Field(default=5, ge=1, le=50)


class Contamination(Section):
    """Training documents that share a run of so many words with a held-out document; runs that more than `common`
    training documents hold are phrases such as licences and do not count (`null`: all do).
    """

    words: int = Field(default=13, ge=3, le=100)
    common: int | None = Field(default=10, ge=1)


class Hygiene(Section):
    """What is mended in documents and which are left out; everything is off unless it is asked for.

    `unicode` normalises and `redact` replaces, before anything else looks at a document. `broken: drop` leaves out
    those with U+FFFD (the trace of bytes that were no UTF-8) or control characters; `max_repetition` is the fraction of
    characters in repeated lines.
    """

    unicode: Literal["NFC", "NFKC"] | None = None
    redact: list[Literal["emails", "secrets"]] = []
    broken: Literal["keep", "drop"] = "keep"
    min_characters: int | None = Field(default=None, ge=1)
    max_characters: int | None = Field(default=None, ge=1)
    max_repetition: float | None = Field(default=None, ge=0, lt=1)
    exact_duplicates: Literal["keep", "drop"] = "keep"
    near_duplicates: NearDuplicates | None = None
    contamination: Contamination | None = None


class LanguagePreprocessing(Preparation):
    """`text` is the column that holds a document; sequences are packed to `sequence_length` tokens."""

    tokenizer: Tokenizer = Tokenizer()
    text: str = "text"
    sequence_length: int = Field(default=256, ge=8, le=1_048_576)
    pairs: Pairs | None = None
    hygiene: Hygiene = Hygiene()

    @model_validator(mode="after")
    def _has_a_template(self) -> "LanguagePreprocessing":
        if self.pairs is not None and self.pairs.framing == "chat" and self.tokenizer.source is None:
            raise ValueError(
                "pairs.framing: chat needs a tokenizer with a chat template: name a chat model's folder in "
                "tokenizer.from, or set framing: separator"
            )
        return self


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


class Lora(Section):
    """Low-rank adapters (Hu et al., 2021, https://arxiv.org/abs/2106.09685) on the named modules; with `method: dora`
    the magnitudes of the weights are trained beside them (Liu et al., 2024, https://arxiv.org/abs/2402.09353).
    """

    rank: int = Field(default=8, ge=1)
    alpha: float = Field(default=16.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: list[str] = Field(default=LINEAR, min_length=1)


class LanguageFineTuning(FineTuning):
    """`method: lora` or `dora` trains adapters only and merges them into the weights at the end."""

    method: Literal["full", "lora", "dora"] = "full"  # type: ignore[assignment]
    lora: Lora = Lora()

    @property
    def adapted(self) -> list[str]:
        """The modules that get adapters."""
        return [] if self.method == "full" else self.lora.target_modules


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
    """`baseline` is the frequencies of the tokens in the training split. `samples` responses of at most `sample_tokens`
    tokens are generated; of held-out pairs, at most `pair_windows` packed windows of `sequence_length` tokens are
    scored.
    """

    gate: LanguageGate = LanguageGate()
    comparison: LanguageComparison | None = LanguageComparison()
    samples: int = Field(default=3, ge=0, le=100)
    sample_tokens: int = Field(default=48, ge=1, le=4096)
    pair_windows: int = Field(default=128, ge=1)


class LanguageModelingRecipe(Section):
    """Text in; a tokenizer and a decoder out, pretrained on documents and fine-tuned on pairs."""

    name: Name
    task: Literal["language_modeling"]
    seed: int = Field(default=0, ge=0, lt=2**31)
    data: Data
    preprocessing: LanguagePreprocessing = LanguagePreprocessing()
    model: DecoderModel = DecoderModel()
    pretraining: Pretraining | None
    fine_tuning: LanguageFineTuning | None
    evaluation: LanguageEvaluation = LanguageEvaluation()
    registration: Registration
    resources: StepResources = StepResources()

    @model_validator(mode="after")
    def _stages_fit(self) -> "LanguageModelingRecipe":
        if self.pretraining is None and self.fine_tuning is None:
            raise ValueError("pretraining and fine_tuning cannot both be none")
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
