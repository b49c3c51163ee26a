"""Versions of base models that were imported: MLflow has card and manifest of one, the store has its weights."""

from pathlib import Path
from typing import Any

from modelmill.runtime.tracking.runs import experiment
from modelmill.runtime.tracking.versions import KEY
from modelmill.store import Store

# The experiment that MLflow keeps their cards in.
EXPERIMENT = "imported-models"


def find(client: Any, name: str, key: str) -> str | None:
    """Return the number of the version with this key, None where there is none.

    Args:
        client: MLflow's client.
        name: Name of the registered model.
        key: Identity of the version.
    """
    versions = client.search_model_versions(f"name = '{name}' and tags.`{KEY}` = '{key}'")
    return min((str(version.version) for version in versions), key=int, default=None)


def create(client: Any, store: Store, name: str, package: Path, tags: dict[str, str], description: str) -> str:
    """Register a version, whole and with its tags in one request, and return its number.

    Args:
        client: MLflow's client.
        store: The store with the model's files.
        name: Name of the registered model.
        package: Folder with the files for MLflow.
        tags: Tags of the version.
        description: Text for people.
    """
    from mlflow.exceptions import MlflowException

    logged = client.create_logged_model(experiment(client, store, EXPERIMENT), name=name)
    client.log_model_artifacts(logged.model_id, str(package))
    client.finalize_logged_model(logged.model_id, "READY")
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    version = client.create_model_version(
        name,
        source=f"models:/{logged.model_id}",
        tags=tags,
        description=description,
        model_id=logged.model_id,
    )
    return str(version.version)
