"""The work that pretraining and fine-tuning share: open the corpus, train from some weights, keep the outcome."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from modelmill.recipe import Training
from modelmill.recipe.step_specs import PRETRAINED
from modelmill.runtime import weights
from modelmill.runtime.model_form import MODEL_FOLDER
from modelmill.runtime.step_runtime import Made, Step
from modelmill.store import manifest
from modelmill.store.manifest import Entry, Manifest
from modelmill.tasks.contract import OpenTask, Task
from modelmill.training.device import cost, hardware, precision, world
from modelmill.training.device.system_metrics import Monitor
from modelmill.training.loop.checkpoint import Checkpoints
from modelmill.training.loop.engine import Result, train
from modelmill.training.loop.skipped import library_versions

# Makes the model to keep of the trained one (merges adapters, say) and may write files of its own into the output
# folder.
Finish = Callable[[nn.Module, Path], nn.Module]
# Names the files of a model that is handed on.
Unchanged = Callable[[], list[Entry]]


def run_stage(
    step: Step,
    task: OpenTask,
    model: nn.Module,
    settings: Training,
    finish: Finish | None = None,
    unchanged: Unchanged | None = None,
    more: Mapping[str, Any] | None = None,
) -> Made:
    """Train a model on the stage's examples, with the processes that have joined, and return the step's output.

    Args:
        step: The running step.
        task: The task.
        model: The model, trained in place.
        settings: The stage's settings.
        finish: Makes the model to keep of the trained one.
        unchanged: Names the model's files where training changes none of them, so that none is written again.
        more: What else the manifest says of the model.
    """
    parameters = sum(p.numel() for p in model.parameters())
    here, where = world.here(), hardware.pick_device()
    checkpoints = Checkpoints(step.store, step.key, step.scratch, step.digests, here)
    with Monitor(where) as monitor:
        energy = cost.EnergyMeter(where)
        result = _train(step, task, model, settings, checkpoints)
        used = cost.of_all(here, _used(result, energy, where))
    if here.rank:
        return Made(outputs={}, headline="")  # the first process's to make
    output = step.scratch / "output"
    (output / MODEL_FOLDER).mkdir(parents=True)
    model = model.to(torch.device("cpu"))
    model = finish(model, output) if finish else model
    kept = unchanged() if unchanged else []
    if not unchanged:
        task.save(model, output / MODEL_FOLDER)
    metrics = _metrics(result, parameters)
    if result.state.step:
        dtype = precision.compute_dtype(where, settings, task.mixed_precision)
        metrics |= cost.metrics(used, task.unit, where, dtype, here.size)
    made = Manifest(
        kind="model",
        entries=[*kept, *_store_folder(step, output), _store_history(step, result)],
        made_from=step.digests,
        info={**_info(step, task, result, parameters), **(more or {})},
    )
    return Made(
        outputs={"model": made},
        headline=_headline(result),
        metrics=metrics,
        history=result.state.history,
        system=monitor.samples,
        leftovers=checkpoints.prefix,
    )


def _train(step: Step, task: Task, model: nn.Module, settings: Training, checkpoints: Checkpoints) -> Result:
    training, validation = (task.examples(step.name, split) for split in ("train", "validation"))
    return train(model, task, training, validation, settings, step.recipe.seed, checkpoints, step.progress)


def _store_folder(step: Step, folder: Path) -> list[Entry]:
    files = sorted(f for f in folder.rglob("*") if f.is_file())
    return [manifest.add_file(step.store, f, f.relative_to(folder).as_posix()) for f in files]


def _store_history(step: Step, result: Result) -> Entry:
    # Sorted, because a resumed history comes from JSON with its keys in that order.
    rows = [json.dumps(row, sort_keys=True) for row in result.state.history]
    return manifest.add_bytes(step.store, "".join(f"{row}\n" for row in rows).encode(), "history.jsonl", rows=len(rows))


def _info(step: Step, task: OpenTask, result: Result, parameters: int) -> dict[str, Any]:
    measured = any("validation_loss" in row for row in result.state.history)
    return {
        "task": step.recipe.task,
        "stage": step.name,
        "trained": result.state.step > 0,
        "parameters": parameters,
        "steps": result.state.step,
        "stopped_early": result.stopped_early,
        "best_step": result.state.best_step,
        "best_validation_loss": result.state.best_loss if measured else None,
        **task.notes,
        "libraries": library_versions(),
        **_base(step),
    }


def _base(step: Step) -> dict[str, Any]:
    """Return source, revision, licence and digest of the weights that training started from, if it was given any."""
    if PRETRAINED in step.inputs:
        return {name: value for name, value in step.inputs[PRETRAINED].info.items() if name == "base"}
    settings = step.recipe.pretraining
    if settings is None or settings.init == "random":
        return {}
    return {"base": weights.origin_of("pretraining.init", settings.init, step.store)}


def _metrics(result: Result, parameters: int) -> dict[str, Any]:
    state = result.state
    metrics: dict[str, Any] = {"parameters": parameters, "steps": state.step, "train_seconds": result.seconds}
    if state.step:
        metrics |= {"validation_loss": state.best_loss, "best_step": state.best_step}
        metrics |= {"loss": state.history[-1]["loss"]} if state.history else {}
    if result.skipped:
        metrics["skipped_batches"] = result.skipped
    if result.resumed_from:
        metrics["resumed_from_step"] = result.resumed_from
    return metrics


def _used(result: Result, energy: cost.EnergyMeter, where: torch.device) -> cost.Used:
    return cost.Used(
        device_seconds=result.state.device_seconds,
        step_seconds=result.step_seconds,
        terms=result.terms,
        flops=result.flops,
        model_flops=result.step_flops * result.state.step,
        peak_memory_bytes=hardware.peak_memory(where),
        energy_joules=energy.joules(),
        input_seconds=result.input_seconds,
    )


def _headline(result: Result) -> str:
    state = result.state
    if not state.step:
        return "weights loaded, no steps"
    early = ", stopped early" if result.stopped_early else ""
    return f"validation loss {state.best_loss:.3f} at step {state.best_step}{early}"
