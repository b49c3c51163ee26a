"""What a serving script is given beside the weights: the model's settings, and what else its task needs."""

from pathlib import Path

from modelmill.recipe import task_packages
from modelmill.recipe.step_specs import FINE_TUNED
from modelmill.runtime.step_runtime import Step
from modelmill.store import manifest


def collect(step: Step) -> dict[str, Path]:
    """Checked files in the step's scratch folder, by the names that the script knows them by; of the model's files only
    those that describe it. The others go straight to MLflow (see `delivery`).

    Raises:
        Corrupt: their bytes, or the manifest of the corpus that the model was trained on, are not in the store.
    """
    task = task_packages.part(step.recipe.task, "register")
    describing = {f"model/{name}" for name in task.DESCRIBING}
    manifest.place(step.store, [e for e in step.inputs[FINE_TUNED].entries if e.path in describing], step.scratch)
    more: dict[str, Path] = task.artifacts(step) if hasattr(task, "artifacts") else {}
    return {"model": step.scratch / "model", **more}
