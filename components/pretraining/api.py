"""The functions of pretraining that commands call outside a run: the learning-rate range test."""

from modelmill.components.pretraining.step import build
from modelmill.recipe.step_specs import CORPUS
from modelmill.runtime.step_runtime import Step, try_step


def find_rates(*, recipe: str, store: str, run_id: str, corpus: str, low: float, high: float, steps: int) -> None:
    """Sweep the rates with the model that the step would train.

    Args:
        recipe: The recipe's key in the store.
        store: URI of the store.
        run_id: The run's id.
        corpus: File with the corpus's manifest.
        low: The first rate.
        high: The last rate.
        steps: Number of rates.
    """

    def work(step: Step) -> str:
        from modelmill.training import loading
        from modelmill.training.loop import rate_range

        settings = step.recipe.pretraining
        assert settings is not None
        task = loading.open_task(step)
        return rate_range.run(step, task, build(step, task, settings), settings, low, high, steps)

    try_step("pretraining", work, recipe=recipe, store=store, run_id=run_id, inputs={CORPUS: corpus})
