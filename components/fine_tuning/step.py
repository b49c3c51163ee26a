"""The fine-tuning step: the pretrained weights, or random ones, trained on the task's examples."""

from components.common.step import Made, Step, run_step

CORPUS, PRETRAINED = "preprocessing.corpus", "pretraining.model"


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
    from components.training import processes, stage

    settings = step.recipe.fine_tuning
    pretrained = step.inputs[PRETRAINED]
    if settings is None:
        return stage.skip_stage(step, pretrained)
    if processes.are_wanted(settings):
        return processes.run(step, settings)
    from components.fine_tuning.finishing import Finishing

    task = stage.open_task(step)
    model = task.load(stage.fetch_model(step, pretrained)) if pretrained.entries else task.build()
    finishing = Finishing(task, model, settings, step.scratch)
    return stage.run_stage(step, task, model, settings, finish=finishing.finish)
