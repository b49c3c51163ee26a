"""Runs in MLflow: each step logs a nested run below the pipeline's run."""

import contextlib
import logging
import math
import os
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from modelmill.core.errors import ModelmillError, one_line
from modelmill.recipe import Recipe
from modelmill.runtime.tracking import tracker
from modelmill.runtime.tracking.connection import AGAIN, client, default_root, prepare, redact
from modelmill.store import Store, open_store

log = logging.getLogger("modelmill")

RUN_TAG = "modelmill.run_id"
STEP_TAG = "modelmill.step"
_PARAM_CHARACTERS = 500
# What `log_batch` accepts at once.
_METRICS, _PARAMS = 1000, 100


class Logged(NamedTuple):
    """What a step logs.

    Attributes:
        settings: Settings that the step was given.
        metrics: Numbers that came out.
        history: Training curve, as `Made.history`.
        system: Load of the machine, as `Made.system`.
    """

    settings: dict[str, Any]
    metrics: dict[str, Any] = {}
    history: list[dict[str, float]] = []
    system: list[dict[str, float]] = []


def log_step(store: Store, run_id: str, recipe: Recipe, step: str, logged: Logged) -> None:
    """Log a step's settings and results into MLflow, as a nested run of the pipeline's run.

    This is best effort: a server that does not answer is a warning, and the step's result is kept all the same.

    Args:
        store: The run's store.
        run_id: The run.
        recipe: The recipe.
        step: The step's name.
        logged: What to log.
    """
    request = {"store": store.uri, "run_id": run_id, "recipe": recipe.name, "step": step, "logged": logged._asdict()}
    if not tracker.ask(request):
        _log(store, run_id, recipe.name, step, logged)


def serve(address: str, store: str) -> None:
    """Log for the steps of a local run, each a process of its own, until this process ends.

    Args:
        address: The path of the socket where they ask.
        store: URI of the store whose registry they log into; it is opened ahead.
    """

    def begin() -> None:
        with contextlib.suppress(ModelmillError):
            prepare(open_store(store))

    def handle(request: dict[str, Any]) -> None:
        logged = Logged(**request["logged"])
        _log(open_store(request["store"]), request["run_id"], request["recipe"], request["step"], logged)

    tracker.serve(address, begin, handle)


def _log(store: Store, run_id: str, recipe_name: str, step: str, logged: Logged) -> None:
    try:
        with client(store) as mlflow_client, step_run(mlflow_client, store, recipe_name, run_id, step) as target:
            for batch in _batches(logged):
                mlflow_client.log_batch(target, **batch)
    except Exception as error:
        reason = redact(one_line(error)).removesuffix(AGAIN)
        log.warning("what %s logs is not in MLflow, its result is kept: %s", step, reason)


@contextlib.contextmanager
def step_run(mlflow_client: Any, store: Store, recipe_name: str, run_id: str, step: str) -> Iterator[str]:
    """Give the id of the MLflow run that a step logs into: the one that KFP has injected, else a nested one of ours.

    Ours ends with the block, as FINISHED or FAILED, and its parent with it. An injected run is left open.

    Args:
        mlflow_client: Client of MLflow.
        store: The run's store.
        recipe_name: The recipe's name, which is the experiment's.
        run_id: The run.
        step: The step's name.
    """
    if injected := os.environ.get("MLFLOW_RUN_ID"):
        yield injected
        return
    home = experiment(mlflow_client, store, recipe_name)
    parent = _find_or_create_run(mlflow_client, home, run_id, {RUN_TAG: run_id, STEP_TAG: "pipeline"})
    tags = {RUN_TAG: run_id, STEP_TAG: step, "mlflow.parentRunId": parent}
    nested = _find_or_create_run(mlflow_client, home, step, tags)
    try:
        yield nested
    except BaseException:
        with contextlib.suppress(Exception):
            _end_runs(mlflow_client, "FAILED", nested, parent)
        raise
    _end_runs(mlflow_client, "FINISHED", nested, parent)


def experiment(mlflow_client: Any, store: Store, name: str) -> str:
    """Return the id of an experiment; artifacts of the default registry lie in the store's folder.

    Args:
        mlflow_client: Client of MLflow.
        store: The run's store.
        name: The experiment's name, which is the recipe's.
    """
    from mlflow.exceptions import MlflowException

    if known := mlflow_client.get_experiment_by_name(name):
        return str(known.experiment_id)
    root = default_root(store)
    location = (root / "mlartifacts").as_uri() if root else None
    try:
        return mlflow_client.create_experiment(name, artifact_location=location)
    except MlflowException:
        # Another step created it meanwhile.
        return mlflow_client.get_experiment_by_name(name).experiment_id


def _find_or_create_run(mlflow_client: Any, experiment: str, name: str, tags: dict[str, str]) -> str:
    wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
    runs = mlflow_client.search_runs([experiment], filter_string=wanted, max_results=1)
    if runs:
        return runs[0].info.run_id
    return mlflow_client.create_run(experiment, run_name=name, tags=tags).info.run_id


def _end_runs(mlflow_client: Any, status: str, *runs: str) -> None:
    for run in runs:
        mlflow_client.set_terminated(run, status)


def _params(settings: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Return settings as flat parameters of at most MLflow's length; the suite is an artifact, not a parameter."""
    flat: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, dict) and not key.endswith("suite"):
            flat |= _params(value, f"{prefix}{key}.")
        elif not isinstance(value, dict) and value is not None:
            flat[prefix + key] = str(value)[:_PARAM_CHARACTERS]
    return flat


def _batches(logged: Logged) -> Iterator[dict[str, list[Any]]]:
    """Yield arguments of `log_batch` in pieces of a size that it accepts."""
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    points = [
        Metric(f"{name}_curve", float(value), now, int(row["step"]))
        for row in logged.history
        for name, value in row.items()
        if name != "step" and _is_number(value)
    ]
    points += [Metric(name, float(value), now, 0) for name, value in logged.metrics.items() if _is_number(value)]
    points += [
        Metric(f"system/{name}", value, int(sample["time"] * 1000), number)
        for number, sample in enumerate(logged.system)
        for name, value in sample.items()
        if name != "time"
    ]
    params = [Param(name, value) for name, value in _params(logged.settings).items()]
    for first in range(0, len(params), _PARAMS):
        yield {"params": params[first : first + _PARAMS]}
    for first in range(0, len(points), _METRICS):
        yield {"metrics": points[first : first + _METRICS]}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
