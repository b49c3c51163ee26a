"""MLflow: where it is, what steps tell it, and what its registry holds. Imports mlflow only when it is used."""

import contextlib
import logging
import math
import os
import re
import time
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
URI_VARIABLE = "MLFLOW_TRACKING_URI"
DEFAULT_DATABASE = "mlflow.db"
_AGAIN = "; put that right and run the same command again: nothing is trained again"
_PARAM_CHARACTERS = 500
# What `log_batch` accepts at once.
_METRICS, _PARAMS = 1000, 100
# Where an error comes from when the registry, its database or its file store is what failed.
_FOREIGN = frozenset({"mlflow", "sqlalchemy", "requests", "urllib3", "boto3", "botocore"})


def tracking_uri(store: Store) -> str:
    """`MLFLOW_TRACKING_URI`, else a database in the folder store.

    Raises:
        UserError: the store is no folder and no server is named.
    """
    configured = os.environ.get(URI_VARIABLE)
    if configured:
        return configured
    root = _local_root(store)
    if root is None:
        raise UserError(f"{store.uri}: set MLFLOW_TRACKING_URI to the MLflow server; only a folder store has its own")
    return f"sqlite:///{root / DEFAULT_DATABASE}"


def identity(store: Store) -> str:
    """Digest of which registry this is, without credentials; `local` for the default one wherever it lies.

    Raises:
        UserError: the store is no folder and no server is named.
    """
    uri = tracking_uri(store)
    return digest.of_bytes(redact(uri).rstrip("/").encode()) if os.environ.get(URI_VARIABLE) else "local"


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
    with client(store):
        import mlflow
        from mlflow.exceptions import MlflowException

        try:
            target.mkdir(parents=True, exist_ok=True)
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
        with client(store) as mlflow_client, step_run(mlflow_client, store, recipe.name, run_id, step) as target:
            for batch in _batches(_params(settings), metrics, history):
                mlflow_client.log_batch(target, **batch)
    except Exception as error:
        reason = redact(one_line(error)).removesuffix(_AGAIN)
        log.warning("what %s logs is not in MLflow, its result is kept: %s", step, reason)


@contextlib.contextmanager
def step_run(mlflow_client: Any, store: Store, recipe_name: str, run_id: str, step: str) -> Iterator[str]:
    """The id of the MLflow run that a step logs into: the one that KFP has injected, else a nested one of ours.

    Ours ends with the block, as FINISHED or FAILED, and its parent with it; whoever injected a run ends it.
    """
    if injected := os.environ.get("MLFLOW_RUN_ID"):
        yield injected
        return
    experiment = _experiment(mlflow_client, store, recipe_name)
    parent = _find_or_create_run(mlflow_client, experiment, run_id, {RUN_TAG: run_id, STEP_TAG: "pipeline"})
    tags = {RUN_TAG: run_id, STEP_TAG: step, "mlflow.parentRunId": parent}
    nested = _find_or_create_run(mlflow_client, experiment, step, tags)
    try:
        yield nested
    except BaseException:
        with contextlib.suppress(Exception):
            _end_runs(mlflow_client, "FAILED", nested, parent)
        raise
    _end_runs(mlflow_client, "FINISHED", nested, parent)


@contextlib.contextmanager
def client(store: Store) -> Iterator[Any]:
    """An `MlflowClient` for the registry, which is also the default of `mlflow`'s functions from here on.

    Raises:
        ModelmillError: one line in place of what mlflow raises when the registry does not answer or refuses.
    """
    uri = tracking_uri(store)
    _configure()
    import mlflow

    # mlflow sets its logger's level when it is imported, which another library may have done before.
    logging.getLogger("mlflow").setLevel(os.environ["MLFLOW_LOGGING_LEVEL"].upper())
    was_configured = URI_VARIABLE in os.environ
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    if not was_configured:
        # mlflow has put the default there, and the default would no longer be told from a choice of the user.
        os.environ.pop(URI_VARIABLE, None)
    try:
        yield mlflow.MlflowClient(uri, uri)
    except Exception as error:
        if not isinstance(error, OSError) and type(error).__module__.partition(".")[0] not in _FOREIGN:
            raise
        raise ModelmillError(_unanswered(uri, error)) from error


def redact(text: str) -> str:
    """A URI, or a message with URIs in it, without user names, passwords and queries, which may hold them too."""
    return re.sub(r"\?[^\s'\")]+", "", re.sub(r"(\w://)[^/\s]*@", r"\1", text))


def _configure() -> None:
    """Quiet, no telemetry, no pickles, and an answer within seconds; what the user has set stands."""
    defaults = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        # The URL of a run that it would print holds the credentials of the server.
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        # A uv.lock in the current folder is not part of a model.
        "MLFLOW_UV_AUTO_DETECT": "false",
        "GIT_PYTHON_REFRESH": "quiet",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    # Retries are no news: what fails in the end is said once.
    for name, level in {"alembic": logging.WARNING, "sqlalchemy": logging.WARNING, "urllib3": logging.ERROR}.items():
        logging.getLogger(name).setLevel(level)
    warnings.filterwarnings("ignore", module="mlflow")


def _unanswered(uri: str, error: Exception) -> str:
    """What failed, where, and what to do, on one line and without credentials."""
    text = redact(one_line(error))
    cause = re.search(r"\[Errno -?\d+\] [^'\")]+|Read timed out|timed out", text)
    if "Max retries exceeded" in text and cause:
        text = f"does not answer ({cause.group()})"
    hint = ""
    if re.search(r"error code 403|403 Client Error|status code 403", text):
        hint = "; does MLFLOW_SERVER_ALLOWED_HOSTS on the server list this name with its port?"
    return f"MLflow at {redact(uri)}: {text[:300]}{hint}{_AGAIN}"


def _local_root(store: Store) -> Path | None:
    """The folder of a folder store."""
    return Path(store.uri.removeprefix("file://")) if store.uri.startswith("file://") else None


def _version(store: Store, name: str, version: str) -> Any:
    root = _local_root(store)
    is_default = not os.environ.get(URI_VARIABLE)
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
    is_default = not os.environ.get(URI_VARIABLE)
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


def _end_runs(mlflow_client: Any, status: str, *runs: str) -> None:
    for run in runs:
        mlflow_client.set_terminated(run, status)


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
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    points = [
        Metric(f"{name}_curve", float(value), now, int(row["step"]))
        for row in history
        for name, value in row.items()
        if name != "step" and _is_number(value)
    ]
    points += [Metric(name, float(value), now, 0) for name, value in metrics.items() if _is_number(value)]
    entities = [Param(name, value) for name, value in params.items()]
    for first in range(0, len(entities), _PARAMS):
        yield {"params": entities[first : first + _PARAMS]}
    for first in range(0, len(points), _METRICS):
        yield {"metrics": points[first : first + _METRICS]}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
