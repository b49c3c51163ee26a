"""The DAG: six steps, fan-outs over groups of shards, a gate and an exit handler, for every runner."""

from typing import Any

from kfp import compiler, dsl

from components.common import recipe as recipes
from components.common.recipe import Recipe
from components.data_validation.component import data_validation, look, reason_to_train, shard_scan
from components.evaluation.component import evaluation
from components.fine_tuning.component import fine_tuning
from components.preprocessing.component import fitting, preprocessing, shard_encoding
from components.pretraining.component import pretraining
from components.registration.component import registration
from components.reporting.component import reporting


def build(recipe: Recipe, store: str, run_id: str = dsl.PIPELINE_JOB_ID_PLACEHOLDER, if_changed: bool = False) -> Any:
    """The pipeline of a recipe; its parameters default to the recipe and the store given here.

    Args:
        run_id: under which records are kept; on a cluster KFP's own, so that a recurring run gets a new one each time.
        if_changed: look for new data first, and train only if there is some (`data.retrain`).
    """
    resources, groups = recipe.resources, recipe.data.groups

    @dsl.pipeline(name=recipe.name, description=f"Modelmill: {recipe.task} to {recipe.registration.model}")
    def modelmill(recipe: str = recipes.to_json(recipe), store: str = store) -> None:
        shared = {"recipe": recipe, "store": store, "run_id": run_id}
        outcome = reporting(**shared)
        with dsl.ExitHandler(_settle(outcome, None), name="report"):
            if not if_changed:
                train(validate(shared, groups, resources), shared, groups, resources)
                return
            changed = _settle(look(**shared), resources.data_validation).output
            with dsl.If(changed == True, name="new-data"):  # noqa: E712 - KFP compiles this
                validated = validate(shared, groups, resources)
                reason = _settle(reason_to_train(**shared, drifted=validated.outputs["drifted"]), None).output
                with dsl.If(reason == True, name="reason-to-train"):  # noqa: E712
                    train(validated, shared, groups, resources)

    return modelmill


def validate(shared: dict[str, Any], groups: int, resources: Any) -> Any:
    """The task of data validation, behind scans of groups of shards side by side."""
    scanned = []
    if groups > 1:
        with dsl.ParallelFor(list(range(groups)), name="groups-of-shards") as group:
            scan = shard_scan(recipe=shared["recipe"], store=shared["store"], group=group, groups=groups)
            _settle(scan, resources.data_validation)
        scanned = dsl.Collected(scan.output)
    return _settle(data_validation(**shared, scanned=scanned), resources.data_validation)


def train(validated: Any, shared: dict[str, Any], groups: int, resources: Any) -> None:
    """The tasks from validated data to a registered model."""
    dataset = validated.outputs["dataset"]
    corpus = _prepare(dataset, shared, groups, resources).outputs["corpus"]
    pretrained = _settle(pretraining(**shared, corpus=corpus), resources.pretraining).outputs["model"]
    tuned = _settle(fine_tuning(**shared, corpus=corpus, pretrained=pretrained), resources.fine_tuning).outputs["model"]
    evaluated = _settle(
        evaluation(**shared, corpus=corpus, pretrained=pretrained, model=tuned), resources.evaluation
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
        _settle(registered, resources.registration)


def compile_to(recipe: Recipe, store: str, path: str, if_changed: bool = False) -> None:
    """Write the recipe's pipeline as KFP IR YAML."""
    compiler.Compiler().compile(build(recipe, store, if_changed=if_changed), path)


def _prepare(dataset: Any, shared: dict[str, Any], groups: int, resources: Any) -> Any:
    """The task of preprocessing, behind a fit and groups of shards that are encoded side by side."""
    encoded = []
    if groups > 1:
        ahead = {"recipe": shared["recipe"], "store": shared["store"], "dataset": dataset}
        fit = _settle(fitting(**ahead), resources.preprocessing)
        with dsl.ParallelFor(list(range(groups)), name="groups-to-encode") as group:
            encode = shard_encoding(**ahead, fitted=fit.output, group=group, groups=groups)
            _settle(encode, resources.preprocessing)
        encoded = dsl.Collected(encode.output)
    return _settle(preprocessing(**shared, dataset=dataset, encoded=encoded), resources.preprocessing)


def _settle(task: Any, resources: Any) -> Any:
    """Switch KFP's cache off (the step memo checks that the bytes are there, KFP's does not) and ask for resources."""
    task.set_caching_options(False)
    if resources is not None and resources.cpu:
        task.set_cpu_limit(resources.cpu)
    if resources is not None and resources.memory:
        task.set_memory_limit(resources.memory)
    if resources is not None and resources.gpu:
        task.set_accelerator_type(resources.gpu_type).set_accelerator_limit(resources.gpu)
    return task
