"""The pretraining step: weights from random initialisation or from elsewhere, trained on the corpus."""

from pathlib import Path
from typing import TYPE_CHECKING

from modelmill.recipe.sections import Pretraining
from modelmill.recipe.step_specs import CORPUS, INIT
from modelmill.runtime import weights
from modelmill.runtime.model_form import MODEL_FOLDER
from modelmill.runtime.step_runtime import Made, Step, entry
from modelmill.store import manifest
from modelmill.store.manifest import Entry

if TYPE_CHECKING:
    from torch import nn

    from modelmill.tasks.contract import Task
    from modelmill.training.loop.stage import Finish

# What a model is loaded from, beside the tokenizer.
_KEPT = (".safetensors", ".safetensors.index.json", "config.json")


def make(step: Step) -> Made:
    """Return the pretrained model."""
    from modelmill.training.loop import skipped

    settings = step.recipe.pretraining
    if settings is None:
        return skipped.skip_stage(step)
    from modelmill.training import loading
    from modelmill.training.launch import processes
    from modelmill.training.loop import stage

    if processes.are_wanted(settings):
        return processes.run(step, settings)
    task = loading.open_task(step)
    model, finish = build(step, task, settings), _finish(step, settings)
    if settings.steps or settings.init == "random" or not task.keeps_files:
        return stage.run_stage(step, task, model, settings, finish)
    return stage.run_stage(step, task, model, settings, unchanged=lambda: _files(step, settings))


run = entry("pretraining", make)


def run_alone(*, recipe: str, store: str, run_id: str, corpus: str, model: str, fine_tuned: str) -> None:
    """Run the step, and the fine-tuning after it that is `none`, which needs no task of its own.

    Args:
        recipe: The recipe's key in the store.
        store: URI of the store.
        run_id: The run.
        corpus: File with the corpus's manifest.
        model: File to write the pretrained model's manifest to.
        fine_tuned: File to write fine-tuning's manifest to, which hands that model on.
    """
    from modelmill.training.loop import skipped

    shared = {"recipe": recipe, "store": store, "run_id": run_id, "corpus": corpus}
    run(**shared, model=model)
    skipped.run("fine_tuning", **shared, pretrained=model, model=fine_tuned)


def build(step: Step, task: "Task", settings: Pretraining) -> "nn.Module":
    """Return the model before its first step, in fp32, in which all of its weights are trained."""
    folder = _source(step, settings)
    return task.load(folder).float() if folder else task.build()


def _source(step: Step, settings: Pretraining) -> Path | None:
    """Return the folder with the weights to start from, which are those of the step's key; None for random ones."""
    if settings.init == "random":
        return None
    folder = weights.locate("pretraining.init", settings.init, step.store)
    weights.require_digest(f"pretraining.init: {settings.init}", folder, step.digests[INIT])
    return folder


def _files(step: Step, settings: Pretraining) -> list[Entry]:
    """Return the files of weights that are not trained, as they came in, with the tokenizer of the corpus."""
    folder = _source(step, settings)
    assert folder is not None
    kept = sorted(file for file in folder.iterdir() if file.name.endswith(_KEPT))
    entries = [manifest.add_file(step.store, file, f"{MODEL_FOLDER}/{file.name}") for file in kept]
    known = {entry.path for entry in entries}
    beside = [*step.inputs[CORPUS].under("tokenizer"), *step.inputs[CORPUS].under("checkpoint")]
    copies = [e.model_copy(update={"path": f"{MODEL_FOLDER}/{Path(e.path).name}"}) for e in beside]
    return entries + [copy for copy in copies if copy.path not in known]


def _finish(step: Step, settings: Pretraining) -> "Finish | None":
    """Return what rounds the trained weights to the number format that they came in."""
    from modelmill.models import joining
    from modelmill.training.device import formats

    folder = _source(step, settings)
    return (lambda model, _: joining.rounded(model, formats.came_in(folder))) if folder else None
