"""The six steps as data: what each takes and makes, what it reads of the recipe, and the code that it is.

Ports are declared here alone: the DAG wires them, a step's entry takes them, a step's key is made from exactly these
parts, and `plan` predicts with the same table what will run.
"""

import importlib.metadata
import platform
from functools import cache
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel

from modelmill.recipe import Recipe, step_code
from modelmill.recipe.pretrained import PretrainedModel

S = TypeVar("S", bound=BaseModel)
# Settings that change how a step works but not what it makes, but for rounding, as other hardware does.
RESULT_NEUTRAL = frozenset({"checkpoint_seconds", "devices", "nodes", "strategy", "activation_checkpointing"})


# Manifests that steps hand on, as `step.output`.
DATASET, VALIDATION = "data_validation.dataset", "data_validation.validation"
CORPUS = "preprocessing.corpus"
PRETRAINED, FINE_TUNED = "pretraining.model", "fine_tuning.model"
EVALUATION = "evaluation.evaluation"
# What comes from outside the DAG.
DATA, FITTED, INIT, TEACHER = "source.data", "source.fitted", "source.init", "source.teacher"
CHAMPION, REGISTRY = "source.champion", "source.registry"


# A look for new data before the first step of a run. It makes nothing, so it is no step, but it has a record.
LOOK = "look"


class StepSpec(NamedTuple):
    """A step of the DAG.

    inputs: by port, the output of an earlier step, as `step.output`.
    sources: what it takes from outside the DAG, as `source.NAME`.
    outputs: ports of the manifests that it makes, the main one first.
    settings: dotted recipe keys that its result depends on.
    locations: dotted recipe keys that say where bytes are; the bytes' digests count, not these.
    parts: modules of the task's package that the step calls (see `step_code`).
    libraries: distributions whose version may change the result.
    """

    name: str
    inputs: dict[str, str]
    sources: tuple[str, ...]
    outputs: tuple[str, ...]
    settings: tuple[str, ...]
    locations: tuple[str, ...]
    parts: tuple[str, ...]
    libraries: tuple[str, ...]

    @property
    def made_from(self) -> tuple[str, ...]:
        """Inputs and sources: everything whose digest is part of the step's key."""
        return (*self.inputs.values(), *self.sources)


# What decodes the files of such data, in the steps that read it.
_MEDIA_LIBRARIES = {None: (), "images": ("pillow",), "audio": ("soundfile", "soxr")}
_MODEL_LIBRARIES = ("torch", "transformers", "peft", "safetensors", "tokenizers", "numpy")

STEPS: dict[str, StepSpec] = {
    step.name: step
    for step in (
        StepSpec(
            name="data_validation",
            inputs={},
            sources=(DATA,),
            outputs=("dataset", "validation"),
            settings=(
                "data.layout",
                "data.format",
                "data.media",
                "data.corrupt_files",
                "data.suite",
                "data.quarantine",
                "data.columns",
                # Rows that hold conversations have features of them as columns.
                "preprocessing.pairs.from",
                "preprocessing.pairs.columns",
                "preprocessing.pairs.malformed",
            ),
            locations=("data.path", "data.ignore"),
            parts=(),
            libraries=("great-expectations", "pandas", "pyarrow", "duckdb"),
        ),
        StepSpec(
            name="preprocessing",
            inputs={"dataset": DATASET},
            sources=(FITTED,),
            outputs=("corpus",),
            settings=("task", "data.layout", "data.format", "data.media", "data.corrupt_files", "preprocessing"),
            locations=("data.path", "data.ignore", "name"),
            parts=("recipe", "preprocess"),
            libraries=("tokenizers", "transformers", "datasketch", "numpy", "pyarrow"),
        ),
        StepSpec(
            name="pretraining",
            inputs={"corpus": CORPUS},
            sources=(INIT,),
            outputs=("model",),
            settings=("task", "seed", "model", "pretraining"),
            locations=(),
            parts=("recipe", "task"),
            libraries=_MODEL_LIBRARIES,
        ),
        StepSpec(
            name="fine_tuning",
            inputs={"corpus": CORPUS, "pretrained": PRETRAINED},
            sources=(TEACHER,),
            outputs=("model",),
            settings=("task", "seed", "model", "fine_tuning", "registration.form"),
            locations=(),
            parts=("recipe", "task"),
            libraries=(*_MODEL_LIBRARIES, "onnx", "onnxscript"),
        ),
        StepSpec(
            name="evaluation",
            inputs={"corpus": CORPUS, "pretrained": PRETRAINED, "model": FINE_TUNED},
            sources=(CHAMPION,),
            outputs=("evaluation",),
            settings=("task", "seed", "evaluation"),
            locations=("registration.model",),
            parts=("recipe", "task", "evaluate"),
            libraries=(*_MODEL_LIBRARIES, "scikit-learn", "pyarrow"),
        ),
        StepSpec(
            name="registration",
            inputs={"dataset": DATASET, "validation": VALIDATION, "model": FINE_TUNED, "evaluation": EVALUATION},
            sources=(REGISTRY,),
            outputs=("registration",),
            settings=("name", "task", "registration"),
            locations=(),
            parts=("recipe", "register", "serve"),
            libraries=("mlflow",),
        ),
    )
}
# The steps that a recipe may leave out, one of them.
STAGES = ("pretraining", "fine_tuning")
# What has a record in a run, in the order in which they begin.
RECORDED = (LOOK, *STEPS)


def settings_of(step: str, recipe: Recipe) -> dict[str, Any]:
    """Return the part of the recipe that the step's result depends on, by dotted key; values are JSON."""
    document = recipe.model_dump(mode="json", by_alias=True)
    return {key: _without_neutral(_at(document, key)) for key in _settings(step, recipe)}


def visible_to(step: str, recipe: Recipe) -> Recipe:
    """Return the recipe without the parts that the step does not declare: it cannot read what its key misses."""
    return _visible(recipe, {*_settings(step, recipe), *STEPS[step].locations})


def _settings(step: str, recipe: Recipe) -> tuple[str, ...]:
    """Return the dotted keys that a step's result depends on.

    Preprocessing reads of the model only that a checkpoint decides what it is, and so how inputs are prepared.
    """
    is_given = step == "preprocessing" and isinstance(recipe.model, PretrainedModel)
    return (*STEPS[step].settings, *(("model.type",) if is_given else ()))


def _visible(section: S, keys: set[str]) -> S:
    """Return a section with None for every field that is not among the keys, nor holds one that is."""
    hidden: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        key, value = field.alias or name, getattr(section, name)
        inner = {one.removeprefix(f"{key}.") for one in keys if one.startswith(f"{key}.")}
        if key not in keys:
            hidden[name] = _visible(value, inner) if inner and isinstance(value, BaseModel) else None
    return section.model_copy(update=hidden)


def code_of(step: str, recipe: Recipe) -> dict[str, str]:
    """Return what runs the step: the digest of its source, the version of Python, and versions of libraries."""
    media = _MEDIA_LIBRARIES[recipe.data.media] if "data.media" in STEPS[step].settings else ()
    libraries = (*STEPS[step].libraries, *media, *recipe.libraries.get(step, ()))
    versions = {library: _version(library) for library in libraries}
    return {
        "source": step_code.skipped_digest() if is_none(step, recipe) else source_of(step, recipe.task),
        "python": platform.python_version(),
        **versions,
    }


def is_none(step: str, recipe: Recipe) -> bool:
    """Return whether a step is a stage of training that the recipe leaves out."""
    return step in STAGES and getattr(recipe, step) is None


def source_of(step: str, task: str) -> str:
    """Return the digest of all source that can change what a step makes for a task."""
    return step_code.source_digest(step, task, STEPS[step].parts)


@cache
def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"  # what only some recipes need


def _at(document: dict[str, Any], key: str) -> Any:
    value: Any = document
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _without_neutral(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_neutral(v) for k, v in value.items() if k not in RESULT_NEUTRAL}
    return value
