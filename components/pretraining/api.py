"""The functions of pretraining that commands call outside a run."""

from typing import Any

from modelmill.components.pretraining.step import build
from modelmill.recipe import Recipe, task_packages
from modelmill.recipe.step_specs import CORPUS
from modelmill.runtime import weights
from modelmill.runtime.step_runtime import Step, try_step
from modelmill.store import Store


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


def check_model(recipe: Recipe, store: Store) -> dict[str, Any]:
    """Return what can be said of the weights that training would start from; nothing of random ones.

    Args:
        recipe: The resolved recipe.
        store: The store.

    Raises:
        UserError: Training cannot start from them.
    """
    settings = recipe.pretraining
    if settings is None or settings.init == "random":
        return {}
    folder = weights.locate("pretraining.init", settings.init, store)
    return task_packages.training(recipe.task).check_model(folder, recipe)
