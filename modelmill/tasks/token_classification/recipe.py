"""The recipe of a model that finds entities in texts."""

from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from modelmill.corpus.text.settings import TokenizedPreparation
from modelmill.recipe import sections
from modelmill.recipe.adapters import AdaptedFineTuning
from modelmill.recipe.measure import LOSS, Measure
from modelmill.recipe.pretrained import PretrainedModel
from modelmill.recipe.sections import Bound, Comparison, Evaluation, Pretraining, Section


class TaggingPreprocessing(TokenizedPreparation):
    """How words and their tags become tokens with labels."""

    tokens: str = Field(default="tokens", description="Column with the words of a text, a list.")
    tags: str = Field(default="tags", description="Column with the tags of the words, a list of the same length.")
    scheme: Literal["bio", "iob1", "bioes"] = Field(
        default="bio",
        description="Scheme of the tags: `bio` begins every entity with `B-`, `iob1` only one that follows another of "
        "its kind, `bioes` also marks the last word (`E-`) and entities of one word (`S-`).",
    )
    tag_names: list[str] | None = Field(
        default=None,
        min_length=1,
        description="Names of the tags, such as [O, B-person, I-person], where the column has their numbers.",
    )
    entities: list[str] | None = Field(
        default=None,
        min_length=1,
        description="Kinds of entities that the model finds; words of other kinds are outside. Null takes those of the "
        "training rows.",
    )
    sequence_length: int = Field(
        default=128,
        ge=8,
        le=8192,
        description="Most tokens of an example, those included that the tokenizer adds; longer texts are split between "
        "words.",
    )
    words: Literal["punctuation", "spaces"] = Field(
        default="punctuation",
        description="How the served model splits a text into words: at `spaces`, or also before and after "
        "`punctuation` that begins or ends a word.",
    )

    @field_validator("entities", "tag_names")
    @classmethod
    def _differ(cls, value: list[str] | None) -> list[str] | None:
        if twice := [name for name in value or [] if (value or []).count(name) > 1]:
            raise ValueError(f"{twice[0]!r} is there twice")
        return value


class PretrainedTagger(PretrainedModel):
    """The network of a checkpoint, such as BERT, RoBERTa, ModernBERT or DeBERTa, with a head for tags."""

    heads: ClassVar = ("AutoModelForTokenClassification",)


class TaggingGate(Section):
    """Thresholds of the entities and tags on the test split."""

    f1: Bound | None = Field(
        default=None,
        description="F1 of the entities; one is right if its kind, its first and its last word are (seqeval's strict "
        "mode).",
    )
    precision: Bound | None = Field(default=None, description="Fraction of the entities found that are right.")
    recall: Bound | None = Field(default=None, description="Fraction of the true entities that are found.")
    text_f1: Bound | None = Field(
        default=None, description="Mean over texts of their F1, which is 1 where there is no entity and none is found."
    )
    accuracy: Bound | None = Field(default=None, description="Fraction of the words whose tag is right.")
    loss: Bound | None = Field(default=None, description="Mean cross-entropy of a word's tag, in nats.")


class TaggingComparison(Comparison):
    """How a model is compared with the champion."""

    metric: Literal["text_f1", "loss"] = "text_f1"


class TaggingEvaluation(Evaluation):
    """When a model is good enough, and which samples the report shows."""

    baseline: bool = Field(
        default=True,
        description="Whether `f1` must beat that of the tags that each word most often has in training, significantly, "
        "and `loss` that of the tags' shares.",
    )
    gate: TaggingGate = TaggingGate()
    comparison: TaggingComparison | None = TaggingComparison()
    samples: int = Field(
        default=10, ge=0, le=100, description="Test texts that the report shows, with true entities and those found."
    )


class Recipe(sections.Recipe):
    """Words and tags in; a pretrained encoder out that finds entities in texts."""

    task: Literal["token_classification"]
    preprocessing: TaggingPreprocessing = TaggingPreprocessing()
    model: PretrainedTagger = PretrainedTagger()
    pretraining: Pretraining | None
    fine_tuning: AdaptedFineTuning | None
    evaluation: TaggingEvaluation = TaggingEvaluation()

    # A text has a row in each set: its words count in one, and it counts once in the other.
    measures: ClassVar = {
        "text_f1": Measure("score", set="texts", higher_is_better=True),
        "loss": LOSS,
    }

    @model_validator(mode="after")
    def _learns_tags(self) -> "Recipe":
        if self.fine_tuning is None:
            raise ValueError("fine_tuning: the model learns its tags there, it cannot be none")
        return self
