"""The learning-rate range test of fine-tuning."""

from components.common.step import Step, try_step
from components.fine_tuning.step import CORPUS, PRETRAINED, build


def run(
    *, recipe: str, store: str, run_id: str, corpus: str, pretrained: str, low: float, high: float, steps: int
) -> None:
    """Sweep the rates from low to high with the model that the step would train, its adapters included.

    `corpus` and `pretrained` are files that hold manifests.
    """

    def work(step: Step) -> str:
        from components.training import lr_find, stage

        settings = step.recipe.fine_tuning
        assert settings is not None
        task = stage.open_task(step)
        model, _ = build(step, task, settings)
        return lr_find.run(step, task, model, settings, low, high, steps)

    inputs = {CORPUS: corpus, PRETRAINED: pretrained}
    try_step("fine_tuning", work, recipe=recipe, store=store, run_id=run_id, inputs=inputs)
