"""The pretraining step: weights from random initialisation or from elsewhere, trained on the corpus."""

from components.common import weights
from components.common.step import Made, Step, run_step


def run(*, recipe: str, store: str, run_id: str, corpus: str, model: str) -> None:
    """Pretrain; `corpus` and `model` are files that hold manifests."""
    run_step(
        "pretraining",
        make,
        recipe=recipe,
        store=store,
        run_id=run_id,
        inputs={"preprocessing.corpus": corpus},
        outputs={"model": model},
    )


def make(step: Step) -> Made:
    from components.training import processes, stage

    settings = step.recipe.pretraining
    if settings is None:
        return stage.skip_stage(step, None)
    if processes.are_wanted(settings):
        return processes.run(step, settings)
    task = stage.open_task(step)
    if settings.init == "random":
        return stage.run_stage(step, task, task.build(), settings)
    folder = weights.locate("pretraining.init", settings.init, step.store)
    return stage.run_stage(step, task, task.load(folder), settings)
