"""The DAG: six steps, fan-outs over groups of shards, a gate and an exit handler, for every runner.

Which output goes into which input is declared in `step_specs`; what is here is the order and the conditions. A step
that has nothing to do has no task: one whose stage is `none` is written down by the other stage's task, and those that
are known to be finished by one task for all of them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from kfp import compiler, dsl

from modelmill.components.data_validation.component import data_validation, look, reason_to_train, shard_scan
from modelmill.components.evaluation.component import evaluation
from modelmill.components.fine_tuning.component import fine_tuning, only_fine_tuning
from modelmill.components.preprocessing.component import fitting, preprocessing, shard_encoding
from modelmill.components.pretraining.component import only_pretraining, pretraining
from modelmill.components.registration.component import registration
from modelmill.components.reporting.component import finished_run, finished_steps, reporting
from modelmill.core.errors import UserError
from modelmill.recipe import Recipe
from modelmill.recipe.sections import Resources, StepResources
from modelmill.recipe.step_specs import CORPUS, DATASET, FINE_TUNED, PRETRAINED, STAGES, STEPS, is_none
from modelmill.runtime import node

# Says where a task runs and in what: it is given the task and the name of its step.
Place = Callable[[Any, str], None]

REPORTING = "reporting"
COMPONENTS = {
    "data_validation": data_validation,
    "preprocessing": preprocessing,
    "pretraining": pretraining,
    "fine_tuning": fine_tuning,
    "evaluation": evaluation,
    "registration": registration,
}


class Finished(NamedTuple):
    """Steps that need no task, since all that they would make is there: the first ones of the DAG.

    Attributes:
        keys: The steps' keys, by step.
        passed: What the evaluation decided, where it is one of them.
    """

    keys: dict[str, str]
    passed: bool | None = None

    @property
    def is_whole_run(self) -> bool:
        """Whether no step is left: the model is registered, or was refused by its gate."""
        return "registration" in self.keys or self.passed is False


def task_of(step: str, recipe: Recipe) -> str:
    """Return the step whose task runs a step: its own, or that of the other stage where its own is `none`."""
    return next(stage for stage in STAGES if stage != step) if is_none(step, recipe) else step


def build(
    recipe: Recipe,
    store: str,
    run_id: str = dsl.PIPELINE_JOB_ID_PLACEHOLDER,
    place: Place | None = None,
    if_changed: bool = False,
) -> Any:
    """Return the pipeline of a recipe; its parameters are the recipe's key (see `recipe.stored`) and the store.

    The recipe itself is no part of it: overrides that change neither tasks nor resources have the same pipeline.

    Args:
        recipe: The resolved recipe.
        store: URI of the store, the default of the parameter.
        run_id: Name of the run's records; on a cluster KFP's own id, so that each recurring run gets a new one.
        place: Places each task; without it, tasks ask for the recipe's resources in the images of this version.
        if_changed: Look for new data first, and train only if there is some (`data.retrain`).

    Raises:
        UserError: The store's address has two braces in a row, with which KFP begins what it replaces.
    """
    if "{{" in store:
        raise UserError(f"--store {store}: an address with {{{{ is one that KFP changes; choose another")
    settle = _settler(place, _of_pods(recipe))
    resolved = recipe

    @dsl.pipeline(name=recipe.name, description=f"Modelmill: {recipe.task}")
    def modelmill(recipe: str, store: str = store) -> None:
        run = {"recipe": recipe, "store": store, "run_id": run_id}
        tasks = _Tasks(run, resolved, settle)
        with dsl.ExitHandler(settle(reporting(**run), REPORTING), name="report"):
            if not if_changed:
                tasks.validate()
                tasks.train()
                return
            looked = settle(look(**run), "data_validation")
            with dsl.If(looked.output == True, name="new-data"):  # noqa: E712 - KFP compiles this
                validated = tasks.validate()
                reason = settle(reason_to_train(**run, drifted=validated.outputs["drifted"]), "data_validation")
                with dsl.If(reason.output == True, name="reason-to-train"):  # noqa: E712
                    tasks.train()

    return modelmill


def build_rest(
    recipe: Recipe,
    store: str,
    finished: Finished,
    run_id: str = dsl.PIPELINE_JOB_ID_PLACEHOLDER,
    place: Place | None = None,
) -> Any:
    """Return the pipeline of the steps that are left of a recipe.

    Its parameters are those of `build`, and `finished`: the keys of the finished steps, by step.

    Args:
        recipe: The resolved recipe.
        store: URI of the store, the default of the parameter.
        finished: The steps that are finished.
        run_id: Name of the run's records, as in `build`.
        place: Places each task, as in `build`.
    """
    settle, left_out, resolved = _settler(place, _of_pods(recipe)), finished, recipe

    @dsl.pipeline(name=recipe.name, description=f"Modelmill: {recipe.task}")
    def modelmill(recipe: str, finished: dict, store: str = store) -> None:
        run = {"recipe": recipe, "store": store, "run_id": run_id}
        if left_out.is_whole_run:
            settle(finished_run(**run, finished=finished), REPORTING)
            return
        tasks = _Tasks(run, resolved, settle)
        with dsl.ExitHandler(settle(reporting(**run), REPORTING), name="report"):
            tasks.begin_with(left_out, settle(finished_steps(**run, finished=finished), REPORTING))
            tasks.validate()
            tasks.train()

    return modelmill


def compile_to(
    recipe: Recipe,
    store: str,
    path: str,
    place: Place | None = None,
    if_changed: bool = False,
    default: str | None = None,
    finished: Finished | None = None,
) -> None:
    """Write the recipe's pipeline as KFP IR YAML.

    Args:
        recipe: The resolved recipe.
        store: URI of the store.
        path: The file to write.
        place: Places each task, as in `build`.
        if_changed: Look for new data first, as in `build`.
        default: Key of the recipe that a run takes which is given none, as one started from KFP's pages.
        finished: Steps that are known to be finished; their keys are the parameter `finished` of each run.
    """
    if finished is None:
        pipeline = build(recipe, store, place=place, if_changed=if_changed)
    else:
        pipeline = build_rest(recipe, store, finished, place=place)
    compiler.Compiler().compile(pipeline, path, pipeline_parameters={"recipe": default} if default else None)


class _Tasks:
    """The tasks of a pipeline as they are added, and the outputs of those that are there."""

    def __init__(self, run: dict[str, Any], recipe: Recipe, settle: Callable[[Any, str], Any]) -> None:
        self._run, self._recipe, self._settle = run, recipe, settle
        self._groups = recipe.data.groups
        self._ahead = {"recipe": run["recipe"], "store": run["store"]}
        self._outputs: dict[str, Any] = {}
        self._finished = Finished({})

    def begin_with(self, finished: Finished, task: Any) -> None:
        """Take the outputs of finished steps from a task that hands them on."""
        self._finished = finished
        ports = [(step, port) for step in finished.keys for port in STEPS[step].outputs]
        self._outputs |= {f"{step}.{port}": task.outputs[f"{step}_{port}"] for step, port in ports}

    def validate(self) -> Any:
        """Add data validation, behind scans of groups of shards side by side."""
        if "data_validation" in self._finished.keys:
            return None
        scanned = []
        if self._groups > 1:
            with dsl.ParallelFor(list(range(self._groups)), name="groups-of-shards") as group:
                scan = self._settle(shard_scan(**self._ahead, group=group, groups=self._groups), "data_validation")
            scanned = dsl.Collected(scan.output)
        return self._add("data_validation", scanned=scanned)

    def train(self) -> None:
        """Add what leads from validated data to a registered model."""
        if "preprocessing" not in self._finished.keys:
            self._prepare()
        self._add_stages()
        if self._finished.passed:
            self._add("registration", passed=True)
            return
        passed = self._add("evaluation").outputs["Output"]
        with dsl.If(passed == True, name="gate-passed"):  # noqa: E712 - KFP compiles this
            self._add("registration", passed=passed)

    def _add_stages(self) -> None:
        """Add pretraining and fine-tuning, or one task where the recipe has one of them."""
        left = tuple(stage for stage in STAGES if stage not in self._finished.keys)
        tasks = {task_of(stage, self._recipe) for stage in STAGES}
        if left == STAGES and tasks == {"fine_tuning"}:
            task = self._settle(only_fine_tuning(**self._run, corpus=self._outputs[CORPUS]), "fine_tuning")
            self._outputs |= {PRETRAINED: task.outputs["pretrained"], FINE_TUNED: task.outputs["model"]}
            task.set_display_name("fine-tuning")
        elif left == STAGES and tasks == {"pretraining"}:
            task = self._settle(only_pretraining(**self._run, corpus=self._outputs[CORPUS]), "pretraining")
            self._outputs |= {PRETRAINED: task.outputs["model"], FINE_TUNED: task.outputs["fine_tuned"]}
            task.set_display_name("pretraining")
        else:
            for stage in left:
                self._add(stage)

    def _prepare(self) -> None:
        """Add preprocessing, behind a fit and groups of shards that are encoded side by side."""
        encoded = []
        if self._groups > 1:
            ahead = {**self._ahead, "dataset": self._outputs[DATASET]}
            fit = self._settle(fitting(**ahead), "preprocessing")
            with dsl.ParallelFor(list(range(self._groups)), name="groups-to-encode") as group:
                encode = shard_encoding(**ahead, fitted=fit.output, group=group, groups=self._groups)
                self._settle(encode, "preprocessing")
            encoded = dsl.Collected(encode.output)
        self._add("preprocessing", encoded=encoded)

    def _add(self, step: str, **more: Any) -> Any:
        """Add a step's task with the inputs of its specification; `more` are parameters beside them."""
        spec = STEPS[step]
        inputs = {port: self._outputs[source] for port, source in spec.inputs.items()}
        task = self._settle(COMPONENTS[step](**self._run, **inputs, **more), step)
        self._outputs |= {f"{step}.{port}": task.outputs[port] for port in spec.outputs}
        return task


def _settler(place: Place | None, resources: StepResources) -> Callable[[Any, str], Any]:
    """Return what switches KFP's cache off for a step's task and places it, or has it ask for the step's resources.

    The step memo checks that the bytes are there, KFP's cache does not.
    """

    def settle(task: Any, step: str) -> Any:
        task.set_caching_options(False)
        if place is not None:
            place(task, step)
        else:
            _ask(task, getattr(resources, step, Resources()))
        return task

    return settle


def _of_pods(recipe: Recipe) -> StepResources:
    """Return what the steps' own pods ask for: one whose work is on other nodes (`nodes`) only waits for them."""
    return recipe.resources.model_copy(update={step: Resources() for step in STEPS if node.are_wanted(step, recipe)})


def _ask(task: Any, resources: Any) -> None:
    if resources.cpu:
        task.set_cpu_limit(resources.cpu)
    if resources.memory:
        task.set_memory_limit(resources.memory)
    if resources.gpu:
        task.set_accelerator_type(resources.gpu_type).set_accelerator_limit(resources.gpu)
