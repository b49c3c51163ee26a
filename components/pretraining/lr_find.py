"""The learning-rate range test of pretraining."""

from components.common.step import Step, try_step
from components.pretraining.step import CORPUS, build


def run(*, recipe: str, store: str, run_id: str, corpus: str, low: float, high: float, steps: int) -> None:
    """Sweep the rates from low to high with the model that the step would train; `corpus` is a file with a manifest."""

    def work(step: Step) -> str:
        from components.training import lr_find, stage

        settings = step.recipe.pretraining
        assert settings is not None
        task = stage.open_task(step)
        return lr_find.run(step, task, build(step, task, settings), settings, low, high, steps)

    try_step("pretraining", work, recipe=recipe, store=store, run_id=run_id, inputs={CORPUS: corpus})
