"""The contract of a task: what each module of its package holds, as types.

A package has the parts below, a module each. Those that may be left out are `cost`, `demo`, and in the others the
functions that are named as optional; `modelmill.recipe.task_packages` fills them with defaults, so that no caller has
to ask whether a task has them.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import torch
    from mlflow.models import ModelSignature
    from torch import nn

    from modelmill.data.shard import Shard
    from modelmill.measures.evaluation_result import EvaluationResult
    from modelmill.recipe import Recipe
    from modelmill.runtime.step_runtime import Made, Step
    from modelmill.store.manifest import Manifest

Batch: TypeAlias = "dict[str, torch.Tensor]"
Stage: TypeAlias = Literal["pretraining", "fine_tuning"]
# The shards of a dataset, each with the sha256 that was validated.
Validated: TypeAlias = "list[tuple[Shard, str]]"


class RecipePart(Protocol):
    """`recipe.py`: the task's sections of a recipe. It knows no torch."""

    @property
    def Recipe(self) -> "type[Recipe]":
        """The model of the whole recipe."""
        ...


class PreprocessPart(Protocol):
    """`preprocess.py`: validated rows into arrays. It knows no torch."""

    def preprocess(self, step: "Step", shards: Validated, /) -> "Made":
        """Return the corpus.

        Args:
            step: The running step.
            shards: The dataset's shards, each with the sha256 that was validated.
        """
        ...


class Preprocessing(PreprocessPart, Protocol):
    """A preprocess part with its optional halves, `fit` and `encode`, which let workers encode shards ahead.

    By default nothing is fitted and nothing is encoded ahead.
    """

    def fit(self, step: "Step", shards: Validated, /) -> Any:
        """Return what is fitted on the whole dataset and that `encode` needs, a tokenizer say."""
        ...

    def encode(self, step: "Step", shards: Validated, fitted: Any, chosen: range, /) -> tuple[Any, int]:
        """Encode some shards, for `preprocess` to find.

        Args:
            step: The running step.
            shards: The dataset's shards, each with the sha256 that was validated.
            fitted: What `fit` has returned.
            chosen: Numbers of the shards to encode.

        Returns:
            The encoded shards, and how many of them were not encoded before.
        """
        ...


class Examples(Protocol):
    """One split of the data as the task's model takes it."""

    @property
    def lengths(self) -> "np.ndarray | None":
        """The length of each example, by which a batch is padded; None where all have one length."""
        ...

    def __len__(self) -> int:
        """Return how many examples there are."""
        ...

    def batch(self, indices: "np.ndarray") -> Batch:
        """Return tensors on the CPU for the examples with these numbers."""
        ...

    def describe(self, indices: "np.ndarray") -> str:
        """Return where these examples come from, for a person: the first few of them by name."""
        ...


class Task(Protocol):
    """A kind of model: how it is built, fed, scored and saved.

    Attributes:
        mixed_precision: Whether bf16 helps it where the hardware has it.
        unit: What its loss counts.
        input: The tensor of a batch that logits are computed from.
        axes: Names of that tensor's axes, the first ones; axes with names may have any length.
        stage: The step that the task works for; it is set when the task is opened.
    """

    mixed_precision: bool
    unit: Literal["tokens", "samples"]
    input: str
    axes: tuple[str, ...]
    stage: str

    def examples(self, stage: str, split: str) -> Examples:
        """Return the examples of a split in a stage (`pretraining` or `fine_tuning`)."""
        ...

    def build(self) -> "nn.Module":
        """Return the recipe's model with random weights; the caller has seeded the generators."""
        ...

    def load(self, folder: Path) -> "nn.Module":
        """Return the model in a folder that `save` has written or, where the task supports it, a foreign one.

        Raises:
            UserError: The weights do not fit the recipe or the corpus.
        """
        ...

    def blocks(self, model: "nn.Module") -> "list[nn.Module]":
        """Return the hidden blocks in order, without embedding and head."""
        ...

    def compilable(self, model: "nn.Module") -> "list[nn.Module]":
        """Return the modules that are worth compiling, each by itself."""
        ...

    def terms(self, batch: Batch) -> int:
        """Return how many terms (tokens, examples) the loss of a batch on the CPU is the sum of."""
        ...

    def loss(self, model: "nn.Module", batch: Batch, smoothing: float = 0.0) -> "torch.Tensor":
        """Return the summed loss in nats, a scalar.

        Args:
            model: The model.
            batch: A batch on the model's device.
            smoothing: The part of a label's probability that is spread evenly over the classes.
        """
        ...

    def logits(self, model: "nn.Module", values: "torch.Tensor") -> "torch.Tensor":
        """Return the output for the tensor `input` of a batch, each example by itself, classes along the last axis."""
        ...

    def save(self, model: "nn.Module", folder: Path) -> None:
        """Write weights (safetensors), configuration and what prepares an input, into an empty folder."""
        ...


class OpenTask(Task, Protocol):
    """A task with its optional attributes, as `training.loading.open_task` gives it to a step.

    Attributes:
        keeps_files: Whether the files of a model that a stage does not train are handed on and not written again; False
            by default.
        notes: What `load` has noted of the model, for its manifest; nothing by default.
    """

    keeps_files: bool
    notes: dict[str, Any]

    def prepare(self, step: "Step", model: "nn.Module", settings: Any) -> None:
        """Take what a stage's settings ask of the task beside its examples and its loss; by default nothing.

        Args:
            step: The running step.
            model: The model before training, on the CPU and without adapters; it is left as it is.
            settings: The stage's settings.

        Raises:
            UserError: The corpus or the model does not fit them.
        """
        ...

    def whole(self, model: "nn.Module") -> list[str]:
        """Return the names of modules that are trained whole beside adapters, such as a new head; by default none."""
        ...

    def counts(self, batch: Batch) -> tuple[int, ...]:
        """Return what the loss is divided by beside its terms; by default nothing.

        Where there is any, the parts of a step's batch have `totals`, fp32: the terms and these, in all parts of all
        processes.
        """
        ...

    def has_first_pass(self) -> bool:
        """Return whether the loss of a part needs a sum over the whole batch; by default it does not."""
        ...

    def first_pass(self, model: "nn.Module", batch: Batch) -> "torch.Tensor":
        """Return a part's contribution to that sum, a scalar; the parts have the sum as `first_pass`, and `totals`."""
        ...


class TaskPart(Protocol):
    """`task.py`: the model, its examples and its loss."""

    def make_task(self, corpus: "Manifest", files: dict[str, Path], settings: Any, /) -> Task:
        """Return the task over a corpus.

        Args:
            corpus: The manifest that `preprocess` has made.
            files: The corpus's files by their names in it.
            settings: The recipe's `model`; None in evaluation, which does not read it.
        """
        ...


class Training(TaskPart, Protocol):
    """A task part with its optional function `check_model`; by default there is nothing to check."""

    def check_model(self, folder: Path, recipe: Any, /) -> dict[str, Any]:
        """Return what can be said of weights before training starts from them, by name.

        Args:
            folder: The folder with the weights.
            recipe: The recipe, of the task's own type.

        Raises:
            UserError: Training cannot start from them.
        """
        ...


class EvaluatePart(Protocol):
    """`evaluate.py`: how a model is measured on held-out examples."""

    def evaluate(self, step: "Step", task: Any, /) -> "EvaluationResult":
        """Return metrics, a row for each held-out example, baselines and samples.

        Args:
            step: The running step.
            task: What `make_task` has returned.
        """
        ...


class RegisterPart(Protocol):
    """`register.py`: the words of the model card, and the interface of the served model. It knows no torch."""

    @property
    def PIPELINE_TAG(self) -> str:
        """The task in Hugging Face's words, for the model card."""
        ...

    @property
    def LIBRARY(self) -> str:
        """The library that loads the model, for the model card."""
        ...

    @property
    def USES(self) -> str:
        """What the served model does with its columns."""
        ...

    @property
    def LIMITS(self) -> str:
        """What the model must not be trusted with."""
        ...

    @property
    def REQUIREMENTS(self) -> tuple[str, ...]:
        """Distributions that serving imports: by name those that training has, others as `name==version`."""
        ...

    @property
    def DESCRIBING(self) -> tuple[str, ...]:
        """The model's files that `interface` and `artifacts` read."""
        ...

    def interface(self, folder: Path, columns: dict[str, str], /) -> "tuple[ModelSignature, pd.DataFrame]":
        """Return the served model's signature and an example of its input.

        Args:
            folder: Holds the files of `DESCRIBING`.
            columns: Types of the data's columns, by name.
        """
        ...


class Registering(RegisterPart, Protocol):
    """A register part with its optional functions.

    By default there are no `artifacts`, and `interface_with` is `interface` of the model's folder.
    """

    def artifacts(self, step: "Step", /) -> dict[str, Path]:
        """Return files that the serving script is given beside the model, by name."""
        ...

    def interface_with(self, artifacts: dict[str, Path], columns: dict[str, str], /) -> "tuple[ModelSignature, Any]":
        """Return the served model's signature and an example of its input, where they depend on the artifacts.

        Args:
            artifacts: What the serving script is given, by name; `model` holds the files of `DESCRIBING`.
            columns: Types of the data's columns, by name.
        """
        ...


class Served(Protocol):
    """`serve.py`: a script with an `mlflow.pyfunc.PythonModel`, which it hands to `mlflow.models.set_model`.

    MLflow runs it without Modelmill: what it imports of Modelmill or of its own package is shipped with it. It is
    imported in registration, which has no torch, so it imports torch and its network inside functions.
    """

    def load_context(self, context: Any, /) -> None:
        """Load the model from `context.artifacts["model"]`, a folder."""
        ...

    def predict(self, context: Any, model_input: "pd.DataFrame", params: dict[str, Any] | None = None, /) -> Any:
        """Return an answer a row: a table, or for conversations what MLflow's chat models return."""
        ...


class RunFacts(NamedTuple):
    """What is known of a run before it: what a recipe does not say.

    Attributes:
        corpus: `info` of the corpus that the recipe's last run has made; None before a first run.
        rows: Rows of that corpus's files, by their paths in it.
        weights: The configuration of the weights to start from; None for random ones.
        vocabulary: The size of the tokenizer that the recipe takes from elsewhere; None where one is trained.
    """

    corpus: Mapping[str, Any] | None = None
    rows: Mapping[str, int] = MappingProxyType({})
    weights: Mapping[str, Any] | None = None
    vocabulary: int | None = None


class Cost(NamedTuple):
    """What a training stage computes.

    Attributes:
        parameters: Of the model.
        flops: Of one example, forward and backward: matrix products and convolutions, two a multiplication.
        terms: Tokens or samples that the loss of one example counts.
        examples: How many the training split has; None if that is not known.
        assumed: What is assumed because it is not known yet, in words; empty if nothing is.
    """

    parameters: int
    flops: float
    terms: float = 1
    examples: int | None = None
    assumed: str = ""


class CostPart(Protocol):
    """`cost.py`, optional: what training will compute, from the recipe alone. It knows no torch."""

    @property
    def UNIT(self) -> Literal["tokens", "samples"]:
        """What the loss counts, as `Task.unit`."""
        ...

    def cost(self, recipe: Any, stage: Stage, known: RunFacts, /) -> Cost | None:
        """Return the cost of a stage; None where it cannot be told.

        Args:
            recipe: The recipe, of the task's own type.
            stage: The stage, which the recipe trains.
            known: What is known beside the recipe.
        """
        ...


class DemoPart(Protocol):
    """`demo.py`, optional: data for recipes, made from what is on every machine."""

    @property
    def DEMOS(self) -> Mapping[str, Callable[[int], dict[str, bytes]]]:
        """By a recipe's name the function that makes its files, by path, given how many shards there should be."""
        ...


# What a part must define, for a check that reads its text: functions with their parameters, and other names.
FUNCTIONS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "recipe": {},
    "preprocess": {"preprocess": ("step", "shards")},
    "task": {"make_task": ("corpus", "files", "settings")},
    "evaluate": {"evaluate": ("step", "task")},
    "register": {"interface": ("folder", "columns")},
    "serve": {},
}
OPTIONAL_FUNCTIONS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "task": {"check_model": ("folder", "recipe")},
    "preprocess": {"fit": ("step", "shards"), "encode": ("step", "shards", "fitted", "chosen")},
    "register": {"artifacts": ("step",), "interface_with": ("artifacts", "columns")},
    "cost": {"cost": ("recipe", "stage", "known")},
}
NAMES: Mapping[str, Sequence[str]] = {
    "recipe": ("Recipe",),
    "register": ("PIPELINE_TAG", "LIBRARY", "USES", "LIMITS", "REQUIREMENTS", "DESCRIBING"),
    "demo": ("DEMOS",),
    "cost": ("UNIT", "cost"),
}
