"""The pretraining step: weights from random initialisation or from elsewhere, trained on the corpus."""

from pathlib import Path
from typing import TYPE_CHECKING

from modelmill.recipe.sections import Pretraining
from modelmill.runtime import weights
from modelmill.runtime.step_runtime import Made, Step, entry

if TYPE_CHECKING:
    from torch import nn

    from modelmill.tasks.contract import Task
    from modelmill.training.loop.stage import Finish


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
    return stage.run_stage(step, task, build(step, task, settings), settings, _finish(step, settings))


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
    """Return the model before its first step, in fp32, in which all of its weights are trained."""
    folder = _source(step, settings)
    return task.load(folder).float() if folder else task.build()


def _source(step: Step, settings: Pretraining) -> Path | None:
    """Return the folder with the weights to start from; None for random ones."""
    return None if settings.init == "random" else weights.locate("pretraining.init", settings.init, step.store)


def _finish(step: Step, settings: Pretraining) -> "Finish | None":
    """Return what rounds the trained weights to the number format that they came in."""
    from modelmill.training.device import formats

    folder = _source(step, settings)
    return (lambda model, _: formats.rounded(model, formats.came_in(folder))) if folder else None
