"""The functions of fine-tuning that commands call outside a run: the learning-rate range test."""

from modelmill.components.fine_tuning.step import build
from modelmill.recipe.step_specs import CORPUS, PRETRAINED
from modelmill.runtime.step_runtime import Step, try_step


def find_rates(
    *, recipe: str, store: str, run_id: str, corpus: str, pretrained: str, low: float, high: float, steps: int
) -> None:
    """Sweep the rates with the model that the step would train, including its adapters.

    Args:
        recipe: The recipe's key in the store.
        store: URI of the store.
        run_id: The run's id.
        corpus: File with the corpus's manifest.
        pretrained: File with the pretrained model's manifest.
        low: The first rate.
        high: The last rate.
        steps: Number of rates.
    """

    def work(step: Step) -> str:
        from modelmill.training import loading
        from modelmill.training.loop import rate_range

        settings = step.recipe.fine_tuning
        assert settings is not None
        task = loading.open_task(step)
        model, _ = build(step, task, settings)
        return rate_range.run(step, task, model, settings, low, high, steps)

    inputs = {CORPUS: corpus, PRETRAINED: pretrained}
    try_step("fine_tuning", work, recipe=recipe, store=store, run_id=run_id, inputs=inputs)
