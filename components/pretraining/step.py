"""The pretraining step: weights from random initialisation or from elsewhere, trained on the corpus."""

from typing import TYPE_CHECKING

from modelmill.recipe.sections import Pretraining
from modelmill.recipe.step_specs import INIT
from modelmill.runtime import weights
from modelmill.runtime.step_runtime import Made, Step, entry

if TYPE_CHECKING:
    from torch import nn

    from modelmill.tasks.contract import Task


def make(step: Step) -> Made:
    """Return the pretrained model."""
    from modelmill.training.loop import skipped

    settings = step.recipe.pretraining
    if settings is None:
        return skipped.skip_stage(step)
    from modelmill.training import loading
    from modelmill.training.launch import processes
    from modelmill.training.loop import stage

    if processes.are_wanted(settings):
        return processes.run(step, settings)
    task = loading.open_task(step)
    return stage.run_stage(step, task, build(step, task, settings), settings)


run = entry("pretraining", make)


def run_alone(*, recipe: str, store: str, run_id: str, corpus: str, model: str, fine_tuned: str) -> None:
    """Run the step, and the fine-tuning after it that is `none`, which needs no task of its own.

    Args:
        recipe: The recipe's key in the store.
        store: URI of the store.
        run_id: The run.
        corpus: File with the corpus's manifest.
        model: File to write the pretrained model's manifest to.
        fine_tuned: File to write fine-tuning's manifest to, which hands that model on.
    """
    from modelmill.training.loop import skipped

    shared = {"recipe": recipe, "store": store, "run_id": run_id, "corpus": corpus}
    run(**shared, model=model)
    skipped.run("fine_tuning", **shared, pretrained=model, model=fine_tuned)


def build(step: Step, task: "Task", settings: Pretraining) -> "nn.Module":
    """Return the model before its first step."""
    if settings.init == "random":
        return task.build()
    folder = weights.locate("pretraining.init", settings.init, step.store)
    weights.require_digest(f"pretraining.init: {settings.init}", folder, step.digests[INIT])
    return task.load(folder)
