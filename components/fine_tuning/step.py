"""The fine-tuning step: the pretrained weights, or random ones, trained on the task's examples."""

from typing import TYPE_CHECKING

from modelmill.recipe.sections import FineTuning
from modelmill.recipe.step_specs import CORPUS, PRETRAINED
from modelmill.runtime.step_runtime import Made, Step, run_step

if TYPE_CHECKING:
    from torch import nn

    from modelmill.tasks.contract import Task
    from modelmill.training.loop.stage import Finish


def run(*, recipe: str, store: str, run_id: str, corpus: str, pretrained: str, model: str) -> None:
    """Fine-tune; `corpus`, `pretrained` and `model` are files that hold manifests."""
    run_step(
        "fine_tuning",
        make,
        recipe=recipe,
        store=store,
        run_id=run_id,
        inputs={CORPUS: corpus, PRETRAINED: pretrained},
        outputs={"model": model},
    )


def make(step: Step) -> Made:
    from modelmill.training.loop import skipped

    settings = step.recipe.fine_tuning
    if settings is None:
        return skipped.skip_stage(step, step.inputs[PRETRAINED])
    from modelmill.training.launch import processes
    from modelmill.training.loop import stage

    if processes.are_wanted(settings):
        return processes.run(step, settings)
    task = stage.open_task(step)
    model, finish = build(step, task, settings)
    return stage.run_stage(step, task, model, settings, finish)


def build(step: Step, task: "Task", settings: FineTuning) -> tuple["nn.Module", "Finish"]:
    """The model before its first step, with adapters where the recipe wants them, and what becomes of it afterwards."""
    from modelmill.components.fine_tuning.finishing import Finishing
    from modelmill.training.loop import stage

    pretrained = step.inputs[PRETRAINED]
    model = task.load(stage.fetch_model(step, pretrained)) if pretrained.entries else task.build()
    finishing = Finishing(task, model, settings, step.scratch)
    return model, finishing.finish
