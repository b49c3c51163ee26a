"""What a serving script is given beside the weights: the model's settings and what else its task needs."""

from pathlib import Path

from modelmill.recipe import task_packages
from modelmill.recipe.step_specs import FINE_TUNED
from modelmill.runtime.step_runtime import Step
from modelmill.store import manifest


def collect(step: Step) -> dict[str, Path]:
    """Return checked files in the step's scratch folder, by the names that the script has for them.

    Of the model's files only those that describe it are among them; the others go straight to MLflow (see `delivery`).

    Raises:
        CorruptError: Their bytes, or the manifest of the corpus that the model was trained on, are not in the store.
    """
    task = task_packages.registration(step.recipe.task)
    describing = {f"model/{name}" for name in task.DESCRIBING}
    manifest.place(step.store, [e for e in step.inputs[FINE_TUNED].entries if e.path in describing], step.scratch)
    return {"model": step.scratch / "model", **task.artifacts(step)}
