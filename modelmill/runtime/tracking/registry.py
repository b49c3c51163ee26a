"""Versions in MLflow's registry: whether they are there, their aliases, their files."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modelmill.core.errors import UserError
from modelmill.runtime.tracking import lookup
from modelmill.runtime.tracking.connection import client, default_root, is_created, redact, tracking_uri
from modelmill.runtime.tracking.versions import KEY, VERIFIED
from modelmill.store import Store


def has_version(store: Store, name: str, version: str) -> bool:
    """Return whether the registry still has a version, ready for use.

    Args:
        store: The run's store.
        name: Name of the registered model.
        version: Number of the version.

    Raises:
        ModelmillError: The registry does not answer.
    """
    known = _look_up(store, name, version)
    return known.is_ready if known is not None else _version(store, name, version) is not None


def aliases(store: Store, name: str, version: str) -> list[str]:
    """Return a version's aliases, none if there is no such version.

    Args:
        store: The run's store.
        name: Name of the registered model.
        version: Number of the version.
    """
    if (known := _look_up(store, name, version)) is not None:
        return known.aliases
    registered = _version(store, name, version)
    return sorted(registered.aliases) if registered is not None else []


def download_version(store: Store, uri: str, target: Path) -> Path:
    """Fetch a registered model into a folder, and return the folder of its files.

    Args:
        store: The run's store.
        uri: `models:/NAME/VERSION` or `models:/NAME@ALIAS`.
        target: Folder that the files are written below.

    Raises:
        UserError: There is no such version or alias, or it is one of ours whose files were never read back.
    """
    with _known(store, uri) as mlflow_client:
        import mlflow

        version = _meant(mlflow_client, uri)
        chosen = f"models:/{version.name}/{version.version}" if version is not None else uri
        target.mkdir(parents=True, exist_ok=True)
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=chosen, dst_path=str(target)))


def tags_of(store: Store, uri: str) -> dict[str, str]:
    """Return the tags of a registered version.

    Args:
        store: The run's store.
        uri: `models:/NAME/VERSION` or `models:/NAME@ALIAS`.

    Raises:
        UserError: There is no such version or alias, or it is one of ours whose files were never read back.
    """
    with _known(store, uri) as mlflow_client:
        version = _meant(mlflow_client, uri)
    return dict(version.tags) if version is not None else {}


@contextlib.contextmanager
def _known(store: Store, uri: str) -> Iterator[Any]:
    """Give MLflow's client; that it has no such version becomes one line."""
    missing = f"{uri}: no such model version in {redact(tracking_uri(store))}"
    if not is_created(store):
        raise UserError(missing)
    with client(store) as mlflow_client:
        from mlflow.exceptions import MlflowException

        try:
            yield mlflow_client
        except MlflowException as error:
            if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                raise
            raise UserError(missing) from error


def _meant(mlflow_client: Any, uri: str) -> Any:
    """Return the version that is meant now: an alias may be moved. None of a stage, or a model that is no version.

    Raises:
        UserError: It is one of ours, and its registration was not finished.
    """
    name, at, alias = uri.removeprefix("models:/").partition("@")
    name, _, number = name.partition("/")
    if at:
        version = mlflow_client.get_model_version_by_alias(name, alias)
    elif number.isdigit():
        version = mlflow_client.get_model_version(name, number)
    else:
        return None
    if KEY in version.tags and version.tags.get(VERIFIED) != "true":
        raise UserError(
            f"{uri}: version {version.version} of {name} was never verified, so its files may not be what was "
            "trained; give the command that was to register it again, or name another version"
        )
    return version


def _look_up(store: Store, name: str, version: str) -> lookup.RegisteredVersion | None:
    root = default_root(store)
    return lookup.version(root, name, version) if root is not None else None


def _version(store: Store, name: str, version: str) -> Any:
    if not is_created(store):
        return None
    with client(store) as mlflow_client:
        from mlflow.exceptions import MlflowException

        try:
            registered = mlflow_client.get_model_version(name, version)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return registered if registered.status == "READY" else None
