"""The recipe of a recurrent language model over bytes."""

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from modelmill.corpus.settings import RowSelection, require_two
from modelmill.recipe import sections
from modelmill.recipe.measure import BITS, Measure
from modelmill.recipe.sections import Bound, Comparison, Evaluation, Preparation, Section


class CharacterPreprocessing(Preparation):
    """How documents, read as bytes of UTF-8, become windows.

    An example is a window of `length` bytes to predict. The network reads the `warm_up` bytes before it first, without
    a gradient, so that it knows what went before.
    """

    text: str = Field(default="text", description="Column with the documents.")
    fine_tune_on: RowSelection | None = Field(
        default=None,
        description="Rows that are for fine-tuning; all others are for pretraining. Without it there is one corpus, "
        "and one stage is `none`.",
    )
    length: int = Field(default=128, ge=2, le=65_536, description="Bytes of a window that are predicted.")
    warm_up: int = Field(default=32, ge=1, le=65_536, description="Bytes before the window that are read first.")
    empty: Literal["refuse", "drop"] = Field(
        default="refuse",
        description="What happens to a document without a byte: `refuse` stops the run, `drop` leaves it out.",
    )

    @property
    def held_out(self) -> dict[str, Any]:
        """Return the settings that decide which records are in the test split, by dotted key."""
        chosen = self.fine_tune_on
        return super().held_out | {"preprocessing.fine_tune_on": chosen.model_dump() if chosen else None}


class RecurrentModel(Section):
    """Embedded bytes, layers of an LSTM or GRU, and a linear head."""

    type: Literal["lstm", "gru"] = Field(default="lstm", description="Kind of the recurrent layers.")
    embedding_size: int = Field(default=64, ge=1, description="Width of the embedding of a byte.")
    hidden_size: int = Field(default=256, ge=1, description="Cells of a layer.")
    num_layers: int = Field(default=1, ge=1, le=16, description="Recurrent layers.")
    dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Dropout of what enters and leaves the layers, not in time (Zaremba et al., 2014, "
        "https://arxiv.org/abs/1409.2329).",
    )


class CharacterGate(Section):
    """Thresholds of the metrics on held-out documents."""

    bits_per_byte: Bound | None = Field(default=None, description="Bits per byte of the model.")
    bits_per_byte_before: Bound | None = Field(
        default=None, description="Bits per byte of the pretrained model, before fine-tuning."
    )


class CharacterComparison(Comparison):
    """How the model is compared with the champion."""

    metric: Literal["bits_per_byte"] = "bits_per_byte"


class CharacterEvaluation(Evaluation):
    """When a recurrent model is good enough, and which samples the report shows."""

    baseline: bool = Field(
        default=True,
        description="Whether `bits_per_byte` must be below that of an n-gram model of bytes and, after fine-tuning, "
        "of the pretrained model.",
    )
    gate: CharacterGate = CharacterGate()
    comparison: CharacterComparison | None = CharacterComparison()
    ngram_order: int = Field(default=5, ge=1, le=7, description="Bytes of the longest n-grams of the baseline.")
    samples: int = Field(
        default=4, ge=0, le=100, description="Held-out documents that the report continues, greedily and drawn."
    )
    prompt_bytes: int = Field(default=60, ge=1, le=65_536, description="Bytes of a document that a sample begins with.")
    sample_bytes: int = Field(default=200, ge=1, le=65_536, description="Most bytes that are generated for a sample.")
    temperature: float = Field(default=0.7, gt=0, le=10, description="Temperature of the sample that is drawn.")


class Recipe(sections.Recipe):
    """Text in; a recurrent network that predicts the next byte out, trained on one corpus and then on another."""

    task: Literal["character_modeling"]
    preprocessing: CharacterPreprocessing = CharacterPreprocessing()
    model: RecurrentModel = RecurrentModel()
    evaluation: CharacterEvaluation = CharacterEvaluation()

    measures: ClassVar = {"bits_per_byte": Measure(per="bytes", set="documents", scale=BITS)}

    @model_validator(mode="after")
    def _stages_fit(self) -> "Recipe":
        require_two(self)
        both = self.pretraining is not None and self.fine_tuning is not None
        if not both and self.evaluation.gate.bits_per_byte_before is not None:
            raise ValueError("evaluation.gate.bits_per_byte_before needs pretraining and fine_tuning")
        return self
