"""The pretraining step: weights from random initialisation or from elsewhere, trained on the corpus."""

from typing import TYPE_CHECKING

from components.common import weights
from components.common.recipe.sections import Pretraining
from components.common.step import Made, Step, run_step

if TYPE_CHECKING:
    from torch import nn

    from components.training.task import Task

CORPUS = "preprocessing.corpus"


def run(*, recipe: str, store: str, run_id: str, corpus: str, model: str) -> None:
    """Pretrain; `corpus` and `model` are files that hold manifests."""
    run_step(
        "pretraining",
        make,
        recipe=recipe,
        store=store,
        run_id=run_id,
        inputs={CORPUS: corpus},
        outputs={"model": model},
    )


def make(step: Step) -> Made:
    from components.training import skipped

    settings = step.recipe.pretraining
    if settings is None:
        return skipped.skip_stage(step, None)
    from components.training import processes, stage

    if processes.are_wanted(settings):
        return processes.run(step, settings)
    task = stage.open_task(step)
    return stage.run_stage(step, task, build(step, task, settings), settings)


def build(step: Step, task: "Task", settings: Pretraining) -> "nn.Module":
    """The model before its first step."""
    if settings.init == "random":
        return task.build()
    return task.load(weights.locate("pretraining.init", settings.init, step.store))
