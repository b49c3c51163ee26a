"""What commands call of fine-tuning, outside a run: the learning-rate range test."""

from modelmill.components.fine_tuning.step import build
from modelmill.recipe.step_specs import CORPUS, PRETRAINED
from modelmill.runtime.step_runtime import Step, try_step


def find_rates(
    *, recipe: str, store: str, run_id: str, corpus: str, pretrained: str, low: float, high: float, steps: int
) -> None:
    """Sweep the rates from low to high with the model that the step would train, its adapters included.

    `corpus` and `pretrained` are files that hold manifests.
    """

    def work(step: Step) -> str:
        from modelmill.training.loop import rate_range, stage

        settings = step.recipe.fine_tuning
        assert settings is not None
        task = stage.open_task(step)
        model, _ = build(step, task, settings)
        return rate_range.run(step, task, model, settings, low, high, steps)

    inputs = {CORPUS: corpus, PRETRAINED: pretrained}
    try_step("fine_tuning", work, recipe=recipe, store=store, run_id=run_id, inputs=inputs)
