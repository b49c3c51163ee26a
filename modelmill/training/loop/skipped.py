"""A stage that the recipe leaves out, without the import of torch that training needs."""

import importlib.metadata
import logging

from modelmill.recipe.step_specs import PRETRAINED
from modelmill.runtime.step_runtime import Made, Step, entry
from modelmill.store.manifest import Manifest

log = logging.getLogger("modelmill")
LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "numpy")


def run(name: str, **arguments: str) -> None:
    """Run a step whose stage is `none` in the recipe, inside the task of the other stage.

    Args:
        name: The step's name.
        arguments: As a step's entry takes them (see `step_runtime.entry`).
    """
    entry(name, skip_stage)(**arguments)


def skip_stage(step: Step) -> Made:
    """Hand on the model that came in, if one did: the stage is `none` in the recipe."""
    model = step.inputs.get(PRETRAINED)
    info = {"task": step.recipe.task, "stage": step.name, "trained": False, "libraries": library_versions()}
    made = Manifest(
        kind="model",
        entries=model.entries if model else [],
        made_from=step.digests,
        info={**(model.info if model else {}), **info},
    )
    log.info("%s: none, as the recipe says", step.name)
    return Made(outputs={"model": made}, headline="none, as the recipe says")


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that make a model, whether or not they are imported."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}
