"""What training and evaluation begin with: the task over the step's corpus, and the model of an earlier step."""

from pathlib import Path

from modelmill.recipe import task_packages
from modelmill.recipe.step_specs import CORPUS
from modelmill.runtime.step_runtime import Step
from modelmill.store import manifest
from modelmill.store.manifest import Manifest
from modelmill.tasks.contract import Task
from modelmill.training.device import determinism, hardware

MODEL_FOLDER = "model"


def open_task(step: Step) -> Task:
    """Return the recipe's task over the step's corpus, with every generator seeded."""
    hardware.reuse_freed_memory()
    determinism.seed_everything(step.recipe.seed)
    corpus = step.inputs[CORPUS]
    files = manifest.fetch(step.store, corpus.entries, step.scratch / "corpus")
    task = task_packages.training(step.recipe.task).make_task(corpus, files, step.recipe.model)
    task.stage = step.name
    return task


def fetch_model(step: Step, model: Manifest) -> Path:
    """Return the folder with a manifest's model, checked, for `Task.load`."""
    entries = model.under(MODEL_FOLDER)
    folder = step.scratch / model.digest
    for entry in entries:
        # `from_pretrained` wants one folder with plain names, which a store of digests does not have.
        target = folder / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(manifest.read_entry(step.store, entry))
    return folder / MODEL_FOLDER
