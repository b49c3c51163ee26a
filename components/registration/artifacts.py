"""What a serving script is given beside the weights: the model's settings and what else its task needs."""

import json
from pathlib import Path

from modelmill.recipe import task_packages
from modelmill.recipe.step_specs import FINE_TUNED
from modelmill.runtime import model_form
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
    return {"model": step.scratch / "model", **_adapter(step), **task.artifacts(step)}


def _adapter(step: Step) -> dict[str, Path]:
    """Return an adapter's configuration, and the file that names its base; the weights go straight to MLflow."""
    model = step.inputs[FINE_TUNED]
    if not model_form.is_adapter(model):
        return {}
    folder = model_form.ADAPTER_FOLDER
    manifest.place(step.store, [model.entry(f"{folder}/adapter_config.json")], step.scratch)
    file = step.scratch / "base.json"
    file.write_text(json.dumps(model_form.base(model), indent=2, sort_keys=True), "utf-8")
    return {"adapter": step.scratch / folder, "base": file}
