"""MLflow: where it is, what steps tell it, and what its registry holds. Imports mlflow only when it is used."""

import contextlib
import logging
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.common import digest
from components.common.errors import ModelmillError, UserError, one_line
from components.common.recipe import Recipe
from components.common.store import Store

log = logging.getLogger("modelmill")

RUN_TAG = "modelmill.run_id"
STEP_TAG = "modelmill.step"
DEFAULT_DATABASE = "mlflow.db"
_PARAM_CHARACTERS = 500
_BATCH = 900


def tracking_uri(store: Store) -> str:
    """`MLFLOW_TRACKING_URI`, else a database in the folder store.

    Raises:
        UserError: the store is no folder and no server is named.
    """
    configured = os.environ.get("MLFLOW_TRACKING_URI")
    if configured:
        return configured
    root = _local_root(store)
    if root is None:
        raise UserError(f"{store.uri}: set MLFLOW_TRACKING_URI to the MLflow server; only a folder store has its own")
    return f"sqlite:///{root / DEFAULT_DATABASE}"


def identity(store: Store) -> str:
    """Digest of which registry this is: without credentials, and the same for the default one wherever it lies."""
    configured = os.environ.get("MLFLOW_TRACKING_URI")
    return digest.of_bytes((redact(configured) if configured else "local").encode())


def describe(store: Store) -> str:
    """The registry in words, after asking it something.

    Raises:
        UserError: none is configured. ModelmillError: it does not answer.
    """
    with client(store) as mlflow_client:
        mlflow_client.search_experiments(max_results=1)
    return redact(tracking_uri(store))


def has_version(store: Store, name: str, version: str) -> bool:
    """Whether the registry still has this version, ready for use.

    Raises:
        ModelmillError: the registry does not answer.
    """
    return _version(store, name, version) is not None


def aliases(store: Store, name: str, version: str) -> list[str]:
    """The version's aliases now; none if there is no such version."""
    found = _version(store, name, version)
    return sorted(found.aliases) if found is not None else []


def download_version(store: Store, uri: str, target: Path) -> Path:
    """Fetch a registered model (`models:/name/version` or `models:/name@alias`) into a folder.

    Raises:
        UserError: there is no such version or alias.
    """
    from mlflow.exceptions import MlflowException

    with client(store):
        import mlflow

        try:
            return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(target)))
        except MlflowException as error:
            if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                raise
            raise UserError(f"{uri}: no such model version in {redact(tracking_uri(store))}") from error


def log_step(
    store: Store,
    run_id: str,
    recipe: Recipe,
    step: str,
    settings: dict[str, Any],
    metrics: dict[str, Any],
    history: list[dict[str, float]],
) -> None:
    """Tell MLflow what a step was given and what came out, as a nested run of the pipeline's run.

    Best effort: a tracking server that does not answer is a warning, and the step's result is kept all the same.
    """
    try:
        with client(store) as mlflow_client:
            target = step_run(mlflow_client, store, recipe.name, run_id, step)
            for batch in _batches(_params(settings), metrics, history):
                mlflow_client.log_batch(target, **batch)
            if target != os.environ.get("MLFLOW_RUN_ID"):
                mlflow_client.set_terminated(target)
    except Exception as error:
        log.warning("MLflow did not take what %s has to say: %s", step, one_line(error))


def step_run(mlflow_client: Any, store: Store, recipe_name: str, run_id: str, step: str) -> str:
    """The id of the MLflow run that a step logs into: the one that KFP has injected, else a nested one of ours."""
    if injected := os.environ.get("MLFLOW_RUN_ID"):
        return injected
    experiment = _experiment(mlflow_client, store, recipe_name)
    parent = _find_or_create_run(mlflow_client, experiment, run_id, {RUN_TAG: run_id, STEP_TAG: "pipeline"})
    tags = {RUN_TAG: run_id, STEP_TAG: step, "mlflow.parentRunId": parent}
    return _find_or_create_run(mlflow_client, experiment, step, tags)


@contextlib.contextmanager
def client(store: Store) -> Iterator[Any]:
    """An `MlflowClient` for the registry, which is also the default of `mlflow`'s functions from here on.

    Raises:
        ModelmillError: one line in place of what mlflow raises when the registry does not answer or refuses.
    """
    uri = tracking_uri(store)
    _configure()
    from mlflow.exceptions import MlflowException

    import mlflow

    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    try:
        yield mlflow.MlflowClient(uri, uri)
    except (MlflowException, OSError) as error:
        raise ModelmillError(_unanswered(uri, error)) from error


def redact(text: str) -> str:
    """A URI, or a message with URIs in it, without the user names and passwords."""
    return re.sub(r"(\w://)[^/@\s]+@", r"\1", text)


def _configure() -> None:
    """Quiet, no telemetry, no pickles, and an answer within seconds; what the user has set stands."""
    defaults = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "GIT_PYTHON_REFRESH": "quiet",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    for name in ("alembic", "mlflow", "sqlalchemy"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="mlflow")


def _unanswered(uri: str, error: Exception) -> str:
    text = redact(one_line(error))
    hint = ""
    if "403" in text:
        hint = "; does MLFLOW_SERVER_ALLOWED_HOSTS on the server list this name with its port?"
    return f"MLflow at {redact(uri)}: {text[:300]}{hint}"


def _local_root(store: Store) -> Path | None:
    """The folder of a folder store."""
    return Path(store.uri.removeprefix("file://")) if store.uri.startswith("file://") else None


def _version(store: Store, name: str, version: str) -> Any:
    root = _local_root(store)
    is_default = not os.environ.get("MLFLOW_TRACKING_URI")
    if is_default and root is not None and not (root / DEFAULT_DATABASE).is_file():
        return None
    with client(store) as mlflow_client:
        from mlflow.exceptions import MlflowException

        try:
            found = mlflow_client.get_model_version(name, version)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return found if found.status == "READY" else None


def _experiment(mlflow_client: Any, store: Store, name: str) -> str:
    """The id of the recipe's experiment; artifacts of the default registry lie in the store's folder."""
    from mlflow.exceptions import MlflowException

    if found := mlflow_client.get_experiment_by_name(name):
        return found.experiment_id
    is_default = not os.environ.get("MLFLOW_TRACKING_URI")
    location = (_local_root(store) / "mlartifacts").as_uri() if is_default else None  # type: ignore[operator]
    try:
        return mlflow_client.create_experiment(name, artifact_location=location)
    except MlflowException:
        # Another step created it meanwhile.
        return mlflow_client.get_experiment_by_name(name).experiment_id


def _find_or_create_run(mlflow_client: Any, experiment: str, name: str, tags: dict[str, str]) -> str:
    wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
    found = mlflow_client.search_runs([experiment], filter_string=wanted, max_results=1)
    if found:
        return found[0].info.run_id
    return mlflow_client.create_run(experiment, run_name=name, tags=tags).info.run_id


def _params(settings: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Flat parameters of at most MLflow's length; the suite is an artifact, not a parameter."""
    flat: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, dict) and not key.endswith("suite"):
            flat |= _params(value, f"{prefix}{key}.")
        elif not isinstance(value, dict) and value is not None:
            flat[prefix + key] = str(value)[:_PARAM_CHARACTERS]
    return flat


def _batches(
    params: dict[str, str], metrics: dict[str, Any], history: list[dict[str, float]]
) -> Iterator[dict[str, list[Any]]]:
    """What `log_batch` takes, in pieces that it accepts."""
    import time

    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    points = [Metric(f"{k}_curve", v, now, int(row["step"])) for row in history for k, v in row.items() if k != "step"]
    points += [Metric(k, float(v), now, 0) for k, v in metrics.items() if isinstance(v, int | float)]
    entities = [Param(k, v) for k, v in params.items()]
    for first in range(0, len(entities), 100):
        yield {"params": entities[first : first + 100]}
    for first in range(0, len(points), _BATCH):
        yield {"metrics": points[first : first + _BATCH]}
