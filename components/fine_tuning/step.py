"""The fine-tuning step: the pretrained weights, or random ones, trained on the task's examples."""

import importlib.metadata
from typing import TYPE_CHECKING, Any

from modelmill.recipe.adapters import AdaptedFineTuning
from modelmill.recipe.sections import FineTuning
from modelmill.recipe.step_specs import PRETRAINED
from modelmill.runtime import model_form
from modelmill.runtime.step_runtime import Made, Step, entry

if TYPE_CHECKING:
    from torch import nn

    from modelmill.tasks.contract import OpenTask
    from modelmill.training.loop.stage import Finish


def make(step: Step) -> Made:
    """Return the fine-tuned model."""
    from modelmill.training.loop import skipped

    settings = step.recipe.fine_tuning
    if settings is None:
        return skipped.skip_stage(step)
    from modelmill.training import loading
    from modelmill.training.launch import processes
    from modelmill.training.loop import stage

    if processes.are_wanted(settings):
        return processes.run(step, settings)
    task = loading.open_task(step)
    model, finish = build(step, task, settings)
    pretrained = step.inputs[PRETRAINED]
    is_adapter = getattr(step.recipe.registration, "form", None) == model_form.ADAPTER
    if not is_adapter and (settings.steps or not pretrained.entries or not task.keeps_files):
        return stage.run_stage(step, task, model, settings, finish)
    more = _adapter() if is_adapter else {}
    return stage.run_stage(
        step, task, model, settings, finish, unchanged=lambda: pretrained.under(model_form.MODEL_FOLDER), more=more
    )


run = entry("fine_tuning", make)


def run_alone(*, recipe: str, store: str, run_id: str, corpus: str, pretrained: str, model: str) -> None:
    """Run the step, and before it the pretraining that is `none`, which needs no task of its own.

    Args:
        recipe: The recipe's key in the store.
        store: URI of the store.
        run_id: The run.
        corpus: File with the corpus's manifest.
        pretrained: File to write pretraining's manifest to, which names no weights.
        model: File to write the fine-tuned model's manifest to.
    """
    from modelmill.training.loop import skipped

    shared = {"recipe": recipe, "store": store, "run_id": run_id, "corpus": corpus}
    skipped.run("pretraining", **shared, model=pretrained)
    run(**shared, pretrained=pretrained, model=model)


def build(step: Step, task: "OpenTask", settings: FineTuning) -> tuple["nn.Module", "Finish"]:
    """Return the model before its first step, with adapters where the recipe wants them, and its finisher."""
    import torch

    from modelmill.components.fine_tuning.finishing import Finishing
    from modelmill.training import loading
    from modelmill.training.device import formats
    from modelmill.training.loop import optimization

    pretrained = step.inputs[PRETRAINED]
    if not pretrained.entries:
        model, dtype = task.build(), torch.float32
    else:
        folder = loading.fetch_model(step, pretrained)
        model, dtype = task.load(folder), formats.came_in(folder)
    if not _stays_as_it_is(task, settings):
        model.float()
    task.prepare(step, model, settings)
    blocks = task.blocks(model)
    finishing = Finishing(task, model, settings, step.scratch, dtype)
    optimization.freeze(model, blocks, settings.frozen_layers)
    return model, finishing.finish


def _adapter() -> dict[str, Any]:
    """Return what the manifest of an adapter says beside that of a whole model."""
    from modelmill.training.loop import skipped

    more = {name: importlib.metadata.version(name) for name in model_form.ADAPTER_LIBRARIES}
    libraries = skipped.library_versions() | more
    return {"form": model_form.ADAPTER, "libraries": libraries}


def _stays_as_it_is(task: "OpenTask", settings: FineTuning) -> bool:
    """Return whether the weights keep their number format in training: frozen ones do, where products are in bf16."""
    import torch

    from modelmill.training.device import hardware, precision

    device = hardware.pick_device()
    low = precision.compute_dtype(device, settings, task.mixed_precision) != torch.float32
    return isinstance(settings, AdaptedFineTuning) and settings.adapted and low and precision.has_bf16(device)
