"""The recipe's section `evaluation` of a decoder language model."""

from typing import Literal

from pydantic import Field

from modelmill.recipe.measure import BITS, Measure
from modelmill.recipe.sections import Bound, Comparison, Evaluation, Section

MEASURES = {
    "bits_per_byte": Measure(per="bytes", set="documents", model="before", scale=BITS),
    "response_bits_per_byte": Measure(per="bytes", set="pairs", scale=BITS),
    "preference_accuracy": Measure("correct", higher_is_better=True, set="preferences"),
    "preference_margin": Measure("score", higher_is_better=True, set="preferences"),
    "label_margin": Measure("score", higher_is_better=True, set="labelled"),
    "tool_calls_parse": Measure("score", higher_is_better=True, set="tool_calls"),
    "tool_calls_match": Measure("correct", higher_is_better=True, set="tool_calls"),
}
# Sources of pairs, in which answers are compared or judged, with the metric that models are compared by.
JUDGED = {"preferences": "preference_accuracy", "labelled": "label_margin"}
# Metrics that need the model before fine-tuning.
BEFORE = ("loss_before", "reward_accuracy")
# Metrics that only some sources of pairs have.
_PAIRS = ("python_docstrings", "columns", "alpaca")
_TALKS = ("messages", "sharegpt")
SOURCES = {
    "loss_before": (*_PAIRS, *_TALKS),
    "loss_after": (*_PAIRS, *_TALKS),
    "preference_accuracy": ("preferences",),
    "preference_margin": ("preferences",),
    "reward_accuracy": ("preferences",),
    "label_margin": ("labelled",),
    "tool_calls_parse": _TALKS,
    "tool_calls_match": _TALKS,
}


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
        default=None,
        description="Bits per byte of the responses of held-out pairs, or of the chosen or good answers, after "
        "fine-tuning.",
    )
    preference_accuracy: Bound | None = Field(
        default=None,
        description="Share of held-out preferences of which the chosen answer is more probable than the rejected one, "
        "after fine-tuning.",
    )
    preference_margin: Bound | None = Field(
        default=None,
        description="How much more probable the chosen answer of a held-out preference is than the rejected one, in "
        "nats an answer, after fine-tuning.",
    )
    reward_accuracy: Bound | None = Field(
        default=None,
        description="Share of held-out preferences whose margin is larger after fine-tuning than before; half of them "
        "by chance.",
    )
    label_margin: Bound | None = Field(
        default=None,
        description="Mean log-probability of held-out answers, of bad ones its negative, in nats an answer, after "
        "fine-tuning.",
    )
    tool_calls_parse: Bound | None = Field(
        default=None,
        description="Share of held-out turns with tool calls in whose place the fine-tuned model calls a tool at all.",
    )
    tool_calls_match: Bound | None = Field(
        default=None,
        description="Share of held-out turns with tool calls in whose place the fine-tuned model calls the same tools "
        "with the same arguments.",
    )


class LanguageComparison(Comparison):
    """How a language model is compared with the champion; no metric depends on the tokenizer."""

    metric: Literal[
        "auto",
        "bits_per_byte",
        "response_bits_per_byte",
        "preference_accuracy",
        "preference_margin",
        "label_margin",
        "tool_calls_parse",
        "tool_calls_match",
    ] = Field(
        default="auto",
        description="Metric that the models are compared by; `auto` is `preference_accuracy` where preferences are "
        "learned, `label_margin` where labelled answers are, `response_bits_per_byte` where other pairs are, else "
        "`bits_per_byte`.",
    )


class LanguageEvaluation(Evaluation):
    """When a language model is good enough, and which samples the report shows."""

    baseline: bool = Field(
        default=True,
        description="Whether the model must beat baselines: token frequencies and n-grams in `bits_per_byte`, and "
        "itself before fine-tuning in the loss of responses; without `documents`, by more than chance, n-grams and "
        "itself before fine-tuning in the metric that models are compared by.",
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
    samples: int = Field(
        default=3,
        ge=0,
        le=100,
        description="Responses that are generated for the report; of conversations, in which the last four turns of "
        "the assistant are generated before and after fine-tuning.",
    )
    sample_tokens: int = Field(default=48, ge=1, le=4096, description="Most tokens of a generated response.")
    tool_calls: int = Field(
        default=32,
        ge=0,
        description="Most held-out turns with tool calls that are generated, before and after fine-tuning.",
    )
    pair_windows: int = Field(
        default=128,
        ge=1,
        description="Most packed windows of held-out pairs, of `sequence_length` tokens, that are scored.",
    )


def require_measured(evaluation: LanguageEvaluation, source: str | None, is_pretrained: bool) -> None:
    """Check that what gate and comparison ask for is measured.

    Args:
        evaluation: The section.
        source: `preprocessing.pairs.from`; None where fine-tuning learns no pairs.
        is_pretrained: Whether there is a model before fine-tuning.

    Raises:
        ValueError: Something is not measured.
    """
    if not evaluation.documents and source is None:
        raise ValueError("evaluation.documents: false leaves nothing to score, because fine_tuning is none")
    gate, comparison = evaluation.gate, evaluation.comparison
    asked = {f"evaluation.gate.{name}": name for name in type(gate).model_fields if getattr(gate, name) is not None}
    if comparison is not None:
        asked[f"evaluation.comparison.metric: {comparison.metric}"] = comparison.metric
    for key, metric in asked.items():
        if lacks := _lacks(metric, evaluation, source, is_pretrained):
            raise ValueError(f"{key} needs {lacks}")


def _lacks(metric: str, evaluation: LanguageEvaluation, source: str | None, is_pretrained: bool) -> str:
    """Return what a metric needs and the recipe does not have; empty if it is measured."""
    if metric == "auto":
        return ""
    if metric == "bits_per_byte":
        return "" if evaluation.documents else "evaluation.documents: true"
    if metric in BEFORE and (source is None or not is_pretrained):
        return "pretraining and fine_tuning"
    if source is None:
        return "fine_tuning, which is none"
    needed = SOURCES.get(metric, (source,))
    if source not in needed:
        return f"preprocessing.pairs.from: {' or '.join(needed)}, it is {source}"
    if metric.startswith("tool_calls") and not evaluation.tool_calls:
        return "evaluation.tool_calls of 1 or more, it is 0"
    return ""
