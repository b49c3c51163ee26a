"""Sections that every recipe has, whatever its task."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, PrivateAttr, model_validator

from modelmill.recipe.data import Data, DriftLimits, Quarantine
from modelmill.recipe.evaluation import Bound, Comparison, Evaluation
from modelmill.recipe.measure import LOSS, Measure
from modelmill.recipe.pretrained import PretrainedModel
from modelmill.recipe.resources import Resources, StepResources
from modelmill.recipe.section import GPU, Name, Section
from modelmill.recipe.training import BadBatches, FineTuning, Pretraining, Training

__all__ = [
    "GPU",
    "STAGES",
    "BadBatches",
    "Bound",
    "Comparison",
    "Data",
    "DriftLimits",
    "Evaluation",
    "FineTuning",
    "Name",
    "Preparation",
    "Pretraining",
    "Quarantine",
    "Recipe",
    "Registration",
    "Resources",
    "Section",
    "StepResources",
    "Training",
]

STAGES = ("pretraining", "fine_tuning")
# The key of the column that names splits, and keys that name a model from elsewhere.
SPLIT_FROM = "preprocessing.split_from"
INIT, TEACHER = "pretraining.init", "fine_tuning.distillation.teacher"
TOKENIZER, PROCESSOR = "preprocessing.tokenizer.from", "preprocessing.processor.from"


class Preparation(Section):
    """How records become examples, and which are held out."""

    split_by: str | None = Field(
        default=None,
        description="Column whose hash decides a record's split; null hashes the whole record, so equal records stay "
        "together.",
    )
    split_from: str | None = Field(
        default=None,
        description="Column that names each record's split: `train`, `validation` (or `val`, `valid`, `dev`) or "
        "`test`; one that no record names is drawn from `train`. Null draws all.",
    )
    validation: float = Field(
        default=0.05, gt=0, lt=0.5, description="Fraction of the records held out for validation."
    )
    test: float = Field(default=0.05, gt=0, lt=0.5, description="Fraction of the records held out for the test.")
    fit: Literal["always", "once"] = Field(
        default="always",
        description="When the tokenizer or scaler is fitted to the training split: `always` anew, or `once` and kept "
        "for all later data under this recipe's name and settings.",
    )
    # Splits that the data does not name, known when it is read.
    _drawn: frozenset[str] = PrivateAttr(default=frozenset())

    @model_validator(mode="after")
    def _splits_are_named_or_drawn(self) -> "Preparation":
        fields = type(self).model_fields
        given = [name for name in ("validation", "test") if getattr(self, name) != fields[name].default]
        if self.split_from is not None and given:
            raise ValueError(f"split_from and {given[0]} exclude each other: leave out {given[0]}, or split_from")
        return self

    @property
    def drawn(self) -> frozenset[str]:
        """Return the splits that are drawn from `train` although `split_from` is set: no record names them."""
        return self._drawn

    def with_drawn(self, splits: frozenset[str]) -> "Preparation":
        """Return these settings where no record names some splits.

        Args:
            splits: Their names.
        """
        copy = self.model_copy()
        copy._drawn = splits
        return copy

    @property
    def held_out(self) -> dict[str, Any]:
        """Return the settings that decide which records are in the test split, by dotted key."""
        how = {"preprocessing.test": self.test} if self.split_from is None else {SPLIT_FROM: self.split_from}
        return {"preprocessing.split_by": self.split_by or "the whole record", **how}

    @property
    def checkpoint_key(self) -> str:
        """Return the recipe's key that names the given checkpoint."""
        return TOKENIZER

    @property
    def given_checkpoint(self) -> str | None:
        """Return the model whose tokenizer, image processor or feature extractor is taken; None where none is."""
        return None

    @property
    def needs_chat_template(self) -> bool:
        """Return whether the given tokenizer must have a chat template."""
        return False

    @property
    def context_length(self) -> int | None:
        """Return how many positions a model must have, in tokens or items; None where that does not matter."""
        return None

    def require_tokenizer(self, folder: Path) -> None:
        """Check that a checkpoint's tokenizer has what these settings ask of it; by default they ask nothing.

        Args:
            folder: Folder of the tokenizer.

        Raises:
            UserError: It has not.
        """

    def require_processor(self, folder: Path) -> None:
        """Check that a checkpoint's image processor or feature extractor suits these settings; by default any does.

        Args:
            folder: Folder with the checkpoint's configuration, processor and tokenizer.

        Raises:
            UserError: It does not.
        """

    def with_checkpoint(self, source: str) -> "Preparation":
        """Return these settings with the tokenizer or processor taken from elsewhere, where the task has one."""
        return self


class Registration(Section):
    """Where the model is registered."""

    model: Name = Field(description="Name of the registered model in MLflow.")


class Recipe(Section):
    """What every task's recipe has; a task refines the sections that are its own.

    Attributes:
        measures: What the task's models can be compared by, by the names that `evaluation.comparison.metric` takes.
        libraries: Distributions, beyond those that a step always has, whose version may change the step's result.
    """

    none_words: ClassVar = STAGES

    name: Name = Field(description="Name of the pipeline and of the MLflow experiment; lower case.")
    task: str = Field(description="Kind of model.")
    seed: int = Field(default=0, ge=0, lt=2**31, description="Seed of everything that is drawn at random.")
    data: Data = Field(description="Where the shards are, and the contract that they must keep.")
    preprocessing: Preparation = Field(description="How records become examples, and which are held out.")
    model: Section | None = Field(default=None, description="The network.")
    pretraining: Pretraining | None = Field(default=None, description="First stage of training, or `none`.")
    fine_tuning: FineTuning | None = Field(default=None, description="Second stage of training, or `none`.")
    evaluation: Evaluation = Field(default=Evaluation(), description="When a model is good enough.")
    registration: Registration = Field(description="Where the model is registered.")
    resources: StepResources = Field(default=StepResources(), description="What each step asks of a cluster.")

    measures: ClassVar[dict[str, Measure]] = {"loss": LOSS}
    libraries: ClassVar[dict[str, tuple[str, ...]]] = {}

    @model_validator(mode="after")
    def _is_trained(self) -> "Recipe":
        if self.pretraining is None and self.fine_tuning is None:
            raise ValueError("pretraining and fine_tuning cannot both be none")
        return self

    @model_validator(mode="after")
    def _takes_a_checkpoint(self) -> "Recipe":
        if not isinstance(self.model, PretrainedModel):
            return self
        if self.pretraining is not None and self.pretraining.steps:
            raise ValueError("pretraining.steps: with model.type: auto the checkpoint is trained already; set 0")
        if self.preprocessing.given_checkpoint is None:
            if self.pretraining is None or self.pretraining.init == "random":
                raise ValueError(
                    "model.type: auto: name a checkpoint in pretraining.init or, to train its network from random "
                    f"weights, in {self.preprocessing.checkpoint_key}"
                )
            self.preprocessing = self.preprocessing.with_checkpoint(self.pretraining.init)
        return self

    @property
    def models(self) -> dict[str, str]:
        """Return the models that are taken from elsewhere, each by the key that names it."""
        named = {
            INIT: self.pretraining.init if self.pretraining and self.pretraining.init != "random" else None,
            self.preprocessing.checkpoint_key: self.preprocessing.given_checkpoint,
            TEACHER: self.fine_tuning.teacher if self.fine_tuning else None,
        }
        return {key: source for key, source in named.items() if source is not None}

    def metric(self, is_fine_tuned: bool, corpus: Mapping[str, Any]) -> str:
        """Return the name of the metric that models are compared by; the recipe has a comparison.

        Args:
            is_fine_tuned: Whether the model is one that was fine-tuned.
            corpus: What the manifest of its corpus says.
        """
        assert self.evaluation.comparison is not None
        return self.evaluation.comparison.metric
