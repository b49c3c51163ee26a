"""What the training steps of a plan will cost.

FLOPs are from the models' shapes, or from a training of the same settings on data prepared alike; hours are from the
speed of other trainings.
"""

import json
from typing import NamedTuple

from modelmill.core.errors import CorruptError, ModelmillError
from modelmill.pipelines.planning import speeds
from modelmill.pipelines.planning.flops import LLAMA_SHAPED, Adapters, Decoder, Perceptron
from modelmill.pipelines.planning.plan import Planned
from modelmill.recipe import Recipe, Training
from modelmill.recipe.adapters import AdaptedFineTuning
from modelmill.recipe.step_specs import settings_of
from modelmill.runtime import memo, weights
from modelmill.runtime.run_records import Estimate
from modelmill.store import Store, manifest
from modelmill.store.manifest import Manifest
from modelmill.tasks.language_modeling.recipe import Recipe as LanguageModelingRecipe
from modelmill.tasks.tabular_classification.recipe import Recipe as TabularClassificationRecipe


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
    settings = {name: getattr(recipe, name) for name in speeds.STAGES if name in will_run}
    trained = {name: its for name, its in settings.items() if its is not None and its.steps}
    if not trained:
        return {}
    corpus = _last_corpus(recipe, store)
    shape = _shape(recipe, store, corpus)
    return {name: _of_step(name, its, recipe, store, corpus, shape) for name, its in trained.items()}


def if_all_run(recipe: Recipe, store: Store) -> dict[str, Estimate]:
    """Return the estimates of a run whose steps may all run: the keys of a cluster's image are not known here.

    There are none where weights or a tokenizer are to be fetched first, or where the store does not have what it takes.

    Args:
        recipe: The resolved recipe.
        store: Where earlier trainings are remembered.
    """
    init = recipe.pretraining.init if recipe.pretraining is not None else "random"
    if init != "random" or recipe.preprocessing.given_tokenizer:
        return {}
    try:
        return estimate(recipe, store, [Planned(name, "will run", "", None) for name in speeds.STAGES])
    except ModelmillError:
        return {}


def total(estimates: dict[str, Estimate]) -> dict[str, float | None]:
    """Return FLOPs and device-hours of all estimates, by the names of `Estimate`; None where one is not known."""
    parts = {name: [getattr(each, name) for each in estimates.values()] for name in ("model_flops", "device_hours")}
    return {name: None if None in values else sum(values) for name, values in parts.items()}


def _of_step(
    name: str,
    settings: Training,
    recipe: Recipe,
    store: Store,
    corpus: Manifest | None,
    shape: Decoder | Perceptron | None,
) -> Estimate:
    length = recipe.preprocessing.sequence_length if isinstance(recipe, LanguageModelingRecipe) else 1
    batch = _examples_a_batch(name, settings, recipe, corpus)
    known = Estimate(
        unit="tokens" if isinstance(recipe, LanguageModelingRecipe) else "samples",
        parameters=shape.parameters if shape else None,
        amount=settings.steps * batch * length if batch else None,
    )
    if shape is not None and batch is not None:
        each = shape.flops(length, _adapters(settings)) if isinstance(shape, Decoder) else shape.flops()
        flops = each * batch * settings.steps
    elif measured := _measured(name, settings, recipe, store):
        known, flops = known.model_copy(update={"parameters": measured.parameters}), measured.flops
    else:
        what = "model's shape" if shape is None else "size of a batch"
        return known.model_copy(update={"basis": f"the {what} is not known before a first run with these settings"})
    speed = speeds.find(name, recipe, store)
    return known.model_copy(
        update={
            "model_flops": flops,
            "device_hours": speed.seconds(flops) / 3600 if speed else None,
            "basis": _basis(name, settings, recipe, speed),
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


def _adapters(settings: Training) -> Adapters | None:
    if not isinstance(settings, AdaptedFineTuning) or not settings.adapted:
        return None
    return Adapters(settings.lora.rank, settings.lora.target_modules)


def _basis(name: str, settings: Training, recipe: Recipe, speed: speeds.Speed | None) -> str:
    """Return what the time is based on, and what may make it another, in words."""
    parts = [speed.source if speed else "the time is not known before a first run"]
    resources = getattr(recipe.resources, name)
    if resources.gpu:
        parts.append(f"the recipe asks a cluster for {resources.gpu} {resources.gpu_type}")
    if settings.patience is not None:
        parts.append("at most: it may stop early")
    return "; ".join(parts)


def _examples_a_batch(name: str, settings: Training, recipe: Recipe, corpus: Manifest | None) -> int | None:
    """Return the windows or rows of a batch; None where pairs fill windows, whose number is not noted anywhere.

    `all` are as many as there were last.
    """
    if settings.batch_size != "all":
        return settings.batch_size
    if corpus is None:
        return None
    counts = corpus.info["splits"]["train"]
    if isinstance(recipe, LanguageModelingRecipe):
        return -(-counts["tokens"] // recipe.preprocessing.sequence_length) if name == "pretraining" else None
    return sum(counts.values())


def _last_corpus(recipe: Recipe, store: Store) -> Manifest | None:
    finished = memo.last(store, "preprocessing", recipe.name)
    if finished is None or finished.document["settings"]["task"] != recipe.task:
        return None
    try:
        return manifest.load(store, finished.outputs["corpus"])
    except CorruptError:
        return None


def _shape(recipe: Recipe, store: Store, corpus: Manifest | None) -> Decoder | Perceptron | None:
    """Return the model's shape: that of the weights to start from, else the recipe's; None if not known."""
    try:
        if recipe.pretraining is not None and recipe.pretraining.init != "random":
            config = weights.read_config(weights.locate("pretraining.init", recipe.pretraining.init, store))
            if isinstance(recipe, LanguageModelingRecipe):
                return Decoder.of(config, config["vocab_size"]) if config["model_type"] in LLAMA_SHAPED else None
            if not isinstance(recipe, TabularClassificationRecipe):
                return None
            return Perceptron((len(config["features"]), *config["hidden"], config["outputs"]))
        if isinstance(recipe, LanguageModelingRecipe):
            return Decoder.of(recipe.model.model_dump(), _vocabulary(recipe, store))
        if not isinstance(recipe, TabularClassificationRecipe):
            return None
        classes = len(corpus.info["classes"]) if corpus else 0
        outputs = 1 if classes == 2 else classes
        return Perceptron((len(recipe.preprocessing.features), *recipe.model.hidden, outputs)) if classes else None
    except (LookupError, TypeError, ValueError):
        return None  # a file that is not what it is taken for, which is for the steps to say


def _vocabulary(recipe: LanguageModelingRecipe, store: Store) -> int:
    settings = recipe.preprocessing.tokenizer
    if settings.source is None:
        return settings.vocab_size
    folder = weights.locate("preprocessing.tokenizer.from", settings.source, store)
    tokenizer = json.loads((folder / weights.TOKENIZER[0]).read_text("utf-8"))
    return len({*tokenizer["model"]["vocab"], *(token["content"] for token in tokenizer["added_tokens"])})
