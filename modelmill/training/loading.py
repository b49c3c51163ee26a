"""What training and evaluation begin with: the task over the step's corpus, and the model of an earlier step."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelmill.recipe import task_packages
from modelmill.recipe.step_specs import CORPUS
from modelmill.runtime import model_form
from modelmill.runtime.model_form import MODEL_FOLDER
from modelmill.runtime.step_runtime import Step
from modelmill.store import manifest
from modelmill.store.manifest import Manifest
from modelmill.tasks.contract import OpenTask, Task
from modelmill.training.device import determinism, hardware

if TYPE_CHECKING:
    from torch import nn


def open_task(step: Step) -> OpenTask:
    """Return the recipe's task over the step's corpus, with every generator seeded."""
    hardware.reuse_freed_memory()
    determinism.seed_everything(step.recipe.seed)
    corpus = step.inputs[CORPUS]
    files = manifest.fetch(step.store, corpus.entries, step.scratch / "corpus")
    task = task_packages.training(step.recipe.task).make_task(corpus, files, step.recipe.model)
    return _opened(task, step.name)


def _opened(task: Any, stage: str) -> OpenTask:
    """Return a task with the step that it works for and, where it has none of its own, its optional attributes."""
    task.stage = stage
    defaults = {
        "keeps_files": False,
        "notes": {},
        "whole": lambda _: [],
        "prepare": lambda *_: None,
        "counts": lambda _: (),
        "has_first_pass": lambda: False,
    }
    for name, default in defaults.items():
        if not hasattr(task, name):
            setattr(task, name, default)
    opened: OpenTask = task
    return opened


def fetch_model(step: Step, model: Manifest) -> Path:
    """Return the folder with a manifest's model, checked, for `Task.load`."""
    # `from_pretrained` wants one folder with plain names, which a store of digests does not have.
    folder = step.scratch / model.digest
    manifest.place(step.store, model.under(MODEL_FOLDER), folder)
    return folder / MODEL_FOLDER


def load_model(step: Step, task: Task, model: Manifest) -> "nn.Module":
    """Return a manifest's model as it is served: adapters are joined with their base.

    Args:
        step: The running step.
        task: The task.
        model: The model's manifest.
    """
    folder = fetch_model(step, model)
    loaded = task.load(folder)
    if not model_form.is_adapter(model):
        return loaded
    from modelmill.models import joining
    from modelmill.training.device import formats

    manifest.place(step.store, model.under(model_form.ADAPTER_FOLDER), folder.parent)
    dtype = formats.came_in(folder)
    joined: nn.Module = joining.join(loaded, folder.parent / model_form.ADAPTER_FOLDER, dtype)
    return joined.to(formats.in_memory(dtype, hardware.pick_device()))
