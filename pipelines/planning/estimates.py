"""What the training steps of a plan will cost.

FLOPs are what the task's `cost.py` tells from the recipe and, where it has to assume something, those of a training of
the same settings on data prepared alike, if there was one. Hours are from the speed of other trainings.
"""

import json
from pathlib import Path
from typing import NamedTuple

from modelmill.core.errors import CorruptError, ModelmillError
from modelmill.pipelines.planning import speeds
from modelmill.pipelines.planning.plan import Planned
from modelmill.recipe import Recipe, Training, task_packages
from modelmill.recipe.pretrained import PretrainedModel
from modelmill.recipe.step_specs import STAGES, settings_of
from modelmill.runtime import memo, weights
from modelmill.runtime.run_records import Estimate
from modelmill.store import Store, manifest
from modelmill.store.manifest import Manifest
from modelmill.tasks.contract import Cost, RunFacts


def estimate(recipe: Recipe, store: Store, planned: list[Planned]) -> dict[str, Estimate]:
    """Return an estimate for each training step that will run, by the step's name; run and write nothing.

    Args:
        recipe: The resolved recipe.
        store: Where earlier trainings are remembered.
        planned: The plan of the run.

    Raises:
        UserError: The weights to start from are not there.
    """
    will_run = {step.name for step in planned if step.status == "will run"}
    settings = {name: getattr(recipe, name) for name in STAGES if name in will_run}
    trained = {name: its for name, its in settings.items() if its is not None and its.steps}
    if not trained:
        return {}
    known = _known(recipe, store)
    return {name: _of_step(name, its, recipe, store, _cost(name, recipe, known)) for name, its in trained.items()}


def if_all_run(recipe: Recipe, store: Store) -> dict[str, Estimate]:
    """Return the estimates of a run whose steps may all run: the keys of a cluster's image are not known here.

    There are none where weights or a tokenizer are to be fetched first, or where the store does not have what it takes.

    Args:
        recipe: The resolved recipe.
        store: Where earlier trainings are remembered.
    """
    if recipe.models:
        return {}
    try:
        return estimate(recipe, store, [Planned(name, "will run", "", None) for name in STAGES])
    except ModelmillError:
        return {}


def total(estimates: dict[str, Estimate]) -> dict[str, float | None]:
    """Return FLOPs and device-hours of all estimates, by the names of `Estimate`; None where one is not known."""
    parts = {name: [getattr(each, name) for each in estimates.values()] for name in ("model_flops", "device_hours")}
    return {name: None if None in values else sum(values) for name, values in parts.items()}


def _of_step(name: str, settings: Training, recipe: Recipe, store: Store, cost: Cost | None) -> Estimate:
    batch = cost.examples if cost and settings.batch_size == "all" else settings.batch_size
    examples = settings.steps * batch if isinstance(batch, int) else None
    known = Estimate(
        unit=task_packages.costing(recipe.task).UNIT,
        parameters=cost.parameters if cost else None,
        amount=round(examples * cost.terms) if cost and cost.terms and examples else None,
    )
    measured = _measured(name, settings, recipe, store)
    if cost is not None and examples is not None and not (cost.assumed and measured):
        flops, assumed = cost.flops * examples, cost.assumed
    elif measured is not None:
        flops, assumed, known = measured.flops, "", known.model_copy(update={"parameters": measured.parameters})
    else:
        what = "model's shape" if cost is None else "size of a batch"
        return known.model_copy(update={"basis": f"the {what} is not known before a first run with these settings"})
    speed = speeds.find(name, recipe, store)
    return known.model_copy(
        update={
            "model_flops": flops,
            "device_hours": speed.seconds(flops) / 3600 if speed else None,
            "basis": _basis(name, settings, recipe, speed, assumed),
        }
    )


class PastCost(NamedTuple):
    """Parameters and FLOPs of a training that was measured."""

    parameters: int
    flops: float


def _measured(name: str, settings: Training, recipe: Recipe, store: Store) -> PastCost | None:
    """Return the step's cost in its last run, if that trained a model of the same settings on data prepared alike."""
    prepared, trained = (memo.last(store, step, recipe.name) for step in ("preprocessing", name))
    if prepared is None or trained is None or not all(trained.metrics.get(key) for key in ("model_flops", "steps")):
        return None
    before, now = trained.document["settings"], settings_of(name, recipe)
    if prepared.document["settings"] != settings_of("preprocessing", recipe):
        return None
    if {**before, name: None, "seed": None} != {**now, name: None, "seed": None}:
        return None
    batches = [its["batch_size"] for its in (before[name], now[name])]
    if batches[0] != batches[1] and "all" in batches:
        return None
    larger = 1.0 if batches[0] == batches[1] else batches[1] / batches[0]
    each = trained.metrics["model_flops"] / trained.metrics["steps"]
    return PastCost(trained.metrics["parameters"], each * larger * settings.steps)


def _basis(name: str, settings: Training, recipe: Recipe, speed: speeds.Speed | None, assumed: str) -> str:
    """Return what the time is based on, and what may make it another, in words."""
    parts = [speed.source if speed else "the time is not known before a first run"]
    if assumed:
        parts.append(f"assumed: {assumed}")
    resources = getattr(recipe.resources, name)
    if resources.gpu:
        parts.append(f"the recipe asks a cluster for {resources.gpu} {resources.gpu_type}")
    if settings.patience is not None:
        parts.append("at most: it may stop early")
    return "; ".join(parts)


def _last_corpus(recipe: Recipe, store: Store) -> Manifest | None:
    finished = memo.last(store, "preprocessing", recipe.name)
    if finished is None or finished.document["settings"]["task"] != recipe.task:
        return None
    try:
        return manifest.load(store, finished.outputs["corpus"])
    except CorruptError:
        return None


def _cost(stage: str, recipe: Recipe, known: RunFacts) -> Cost | None:
    try:
        return task_packages.costing(recipe.task).cost(recipe, stage, known)  # type: ignore[arg-type]
    except (LookupError, TypeError, ValueError):
        return None  # a file that is not what it is taken for, which is for the steps to say


def _known(recipe: Recipe, store: Store) -> RunFacts:
    """Return what is known beside the recipe: the last corpus, and the weights and the tokenizer that are given.

    Raises:
        UserError: The weights or the tokenizer are not there.
    """
    corpus, config, vocabulary = _last_corpus(recipe, store), None, None
    if recipe.pretraining is not None and recipe.pretraining.init != "random":
        config = weights.read_config(weights.locate("pretraining.init", recipe.pretraining.init, store))
    key, source = recipe.preprocessing.checkpoint_key, recipe.preprocessing.given_checkpoint
    if source and config is None and isinstance(recipe.model, PretrainedModel):
        config = weights.read_config(weights.locate_description(key, source, store))
    if source and key == weights.TOKENIZER_KEY:
        vocabulary = _vocabulary(weights.locate(key, source, store))
    rows = {entry.path: entry.rows for entry in corpus.entries if entry.rows is not None} if corpus else {}
    return RunFacts(corpus.info if corpus else None, rows, config, vocabulary)


def _vocabulary(folder: Path) -> int | None:
    """Return the size of a tokenizer in a folder; None if the file is none, which is for the steps to say."""
    try:
        tokenizer = json.loads((folder / weights.TOKENIZER[0]).read_text("utf-8"))
        return len({*tokenizer["model"]["vocab"], *(token["content"] for token in tokenizer["added_tokens"])})
    except (OSError, LookupError, TypeError, ValueError):
        return None
