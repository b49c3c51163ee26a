"""The DAG: six steps, fan-outs over groups of shards, a gate and an exit handler, for every runner."""

from collections.abc import Callable
from typing import Any

from kfp import compiler, dsl

from modelmill import recipe as recipes
from modelmill.components.data_validation.component import data_validation, look, reason_to_train, shard_scan
from modelmill.components.evaluation.component import evaluation
from modelmill.components.fine_tuning.component import fine_tuning
from modelmill.components.preprocessing.component import fitting, preprocessing, shard_encoding
from modelmill.components.pretraining.component import pretraining
from modelmill.components.registration.component import registration
from modelmill.components.reporting.component import reporting
from modelmill.recipe import Recipe
from modelmill.recipe.sections import Resources, StepResources
from modelmill.recipe.step_specs import STEPS
from modelmill.runtime import node

# Says where a task runs and in what: it is given the task and the name of its step.
Place = Callable[[Any, str], None]


def build(
    recipe: Recipe,
    store: str,
    run_id: str = dsl.PIPELINE_JOB_ID_PLACEHOLDER,
    place: Place | None = None,
    if_changed: bool = False,
) -> Any:
    """The pipeline of a recipe; its parameters default to the recipe and the store given here.

    Args:
        run_id: under which records are kept; on a cluster KFP's own, so that a recurring run gets a new one each time.
        place: places each task; without it, tasks ask for the recipe's resources in the images of this version.
        if_changed: look for new data first, and train only if there is some (`data.retrain`).
    """
    resources, groups = _of_pods(recipe), recipe.data.groups

    @dsl.pipeline(name=recipe.name, description=f"Modelmill: {recipe.task} to {recipe.registration.model}")
    def modelmill(recipe: str = recipes.to_json(recipe), store: str = store) -> None:
        shared = {"recipe": recipe, "store": store, "run_id": run_id}
        outcome = reporting(**shared)
        with dsl.ExitHandler(_settle(outcome, "reporting", None, place), name="report"):
            if not if_changed:
                train(validate(shared, groups, resources, place), shared, groups, resources, place)
                return
            looked = _settle(look(**shared), "data_validation", resources, place)
            with dsl.If(looked.output == True, name="new-data"):  # noqa: E712 - KFP compiles this
                validated = validate(shared, groups, resources, place)
                reason = reason_to_train(**shared, drifted=validated.outputs["drifted"])
                _settle(reason, "data_validation", resources, place)
                with dsl.If(reason.output == True, name="reason-to-train"):  # noqa: E712
                    train(validated, shared, groups, resources, place)

    return modelmill


def validate(shared: dict[str, Any], groups: int, resources: Any, place: Place | None = None) -> Any:
    """The task of data validation, behind scans of groups of shards side by side."""
    scanned = []
    if groups > 1:
        with dsl.ParallelFor(list(range(groups)), name="groups-of-shards") as group:
            scan = shard_scan(recipe=shared["recipe"], store=shared["store"], group=group, groups=groups)
            _settle(scan, "data_validation", resources, place)
        scanned = dsl.Collected(scan.output)
    return _settle(data_validation(**shared, scanned=scanned), "data_validation", resources, place)


def train(validated: Any, shared: dict[str, Any], groups: int, resources: Any, place: Place | None = None) -> None:
    """The tasks from validated data to a registered model."""
    dataset = validated.outputs["dataset"]
    corpus = _prepare(dataset, shared, groups, resources, place).outputs["corpus"]
    pretrained = _settle(pretraining(**shared, corpus=corpus), "pretraining", resources, place).outputs["model"]
    tuned = _settle(
        fine_tuning(**shared, corpus=corpus, pretrained=pretrained), "fine_tuning", resources, place
    ).outputs["model"]
    evaluated = _settle(
        evaluation(**shared, corpus=corpus, pretrained=pretrained, model=tuned), "evaluation", resources, place
    ).outputs
    with dsl.If(evaluated["Output"] == True, name="gate-passed"):  # noqa: E712 - KFP compiles this
        registered = registration(
            **shared,
            passed=evaluated["Output"],
            dataset=dataset,
            validation=validated.outputs["validation"],
            model=tuned,
            evaluation=evaluated["evaluation"],
        )
        _settle(registered, "registration", resources, place)


def compile_to(recipe: Recipe, store: str, path: str, place: Place | None = None, if_changed: bool = False) -> None:
    """Write the recipe's pipeline as KFP IR YAML."""
    compiler.Compiler().compile(build(recipe, store, place=place, if_changed=if_changed), path)


def _prepare(dataset: Any, shared: dict[str, Any], groups: int, resources: Any, place: Place | None) -> Any:
    """The task of preprocessing, behind a fit and groups of shards that are encoded side by side."""
    encoded = []
    if groups > 1:
        ahead = {"recipe": shared["recipe"], "store": shared["store"], "dataset": dataset}
        fit = _settle(fitting(**ahead), "preprocessing", resources, place)
        with dsl.ParallelFor(list(range(groups)), name="groups-to-encode") as group:
            encode = shard_encoding(**ahead, fitted=fit.output, group=group, groups=groups)
            _settle(encode, "preprocessing", resources, place)
        encoded = dsl.Collected(encode.output)
    return _settle(preprocessing(**shared, dataset=dataset, encoded=encoded), "preprocessing", resources, place)


def _settle(task: Any, step: str, resources: Any, place: Place | None) -> Any:
    """Switch KFP's cache off (the step memo checks that the bytes are there, KFP's does not) and place the task."""
    task.set_caching_options(False)
    if place is not None:
        place(task, step)
    elif resources is not None:
        _ask(task, getattr(resources, step))
    return task


def _of_pods(recipe: Recipe) -> StepResources:
    """What the steps' own pods ask for: one whose work is on other nodes (`nodes`) only waits for them."""
    return recipe.resources.model_copy(update={step: Resources() for step in STEPS if node.are_wanted(step, recipe)})


def _ask(task: Any, resources: Any) -> None:
    if resources.cpu:
        task.set_cpu_limit(resources.cpu)
    if resources.memory:
        task.set_memory_limit(resources.memory)
    if resources.gpu:
        task.set_accelerator_type(resources.gpu_type).set_accelerator_limit(resources.gpu)
