"""The recipe of a recurrent language model over bytes."""

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from modelmill.corpus.settings import Rows, require_two
from modelmill.recipe import sections
from modelmill.recipe.measure import BITS, Measure
from modelmill.recipe.sections import Bound, Comparison, Evaluation, Preparation, Section


class CharacterPreprocessing(Preparation):
    """`text` is the column that holds a document, which is read as bytes of UTF-8. Rows that `fine_tune_on` names are
    for fine-tuning, the others for pretraining; without it there is one corpus, and one stage.

    An example is a window of `length` bytes to predict. The `warm_up` bytes before it are read first, so that the
    network knows what went before; no gradient goes back into them. Documents without a byte are dropped or refused
    (`empty`).
    """

    text: str = "text"
    fine_tune_on: Rows | None = None
    length: int = Field(default=128, ge=2, le=65_536)
    warm_up: int = Field(default=32, ge=1, le=65_536)
    empty: Literal["refuse", "drop"] = "refuse"

    @property
    def held_out(self) -> dict[str, Any]:
        chosen = self.fine_tune_on
        return super().held_out | {"preprocessing.fine_tune_on": chosen.model_dump() if chosen else None}


class RecurrentModel(Section):
    """Embedded bytes, `num_layers` of an LSTM or GRU, and a linear head; `dropout` is between the layers, not in time
    (Zaremba et al., 2014, https://arxiv.org/abs/1409.2329).
    """

    type: Literal["lstm", "gru"] = "lstm"
    embedding_size: int = Field(default=64, ge=1)
    hidden_size: int = Field(default=256, ge=1)
    num_layers: int = Field(default=1, ge=1, le=16)
    dropout: float = Field(default=0.0, ge=0, lt=1)


class CharacterGate(Section):
    """Thresholds; bits per byte of held-out documents, and those of the pretrained model before fine-tuning."""

    bits_per_byte: Bound | None = None
    bits_per_byte_before: Bound | None = None


class CharacterComparison(Comparison):
    """`metric` is what the models are compared by."""

    metric: Literal["bits_per_byte"] = "bits_per_byte"


class CharacterEvaluation(Evaluation):
    """`baseline` is an n-gram model of `ngram_order` bytes and, after fine-tuning, the pretrained model.

    `samples` held-out documents that are long enough are begun with `prompt_bytes` of their own and continued by at
    most `sample_bytes`, once greedily and once at `temperature`.
    """

    gate: CharacterGate = CharacterGate()
    comparison: CharacterComparison | None = CharacterComparison()
    ngram_order: int = Field(default=5, ge=1, le=7)
    samples: int = Field(default=4, ge=0, le=100)
    prompt_bytes: int = Field(default=60, ge=1, le=65_536)
    sample_bytes: int = Field(default=200, ge=1, le=65_536)
    temperature: float = Field(default=0.7, gt=0, le=10)


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
