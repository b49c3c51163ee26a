"""MLflow's aliases, which follow the champion's state in the store: in MLflow the last writer of an alias wins."""

from typing import Any

from modelmill.champion import champion_state
from modelmill.champion.champion_state import Standing
from modelmill.runtime.tracking.versions import WITNESS
from modelmill.store import Store

ROLES = ("champion", "challenger", "previous")


def follow(mlflow_client: Any, store: Store, model: str) -> list[str]:
    """Point the aliases to the versions of the champion's state, and tag the champion with the log's newest entry.

    Of two processes that do this at once, the one with the older state may write last; it then sees the newer state and
    goes on. A process that is killed in between leaves old aliases until the next decision or
    `modelmill registry repair`.

    Args:
        mlflow_client: Client of MLflow.
        store: Store with the state.
        model: Name of the registered model.

    Returns:
        A line for each change, and for each that is not possible because a version is no longer in MLflow.
    """
    changed: list[str] = []
    while True:
        now = champion_state.read(store, model)
        if now.log is None:  # nothing was decided here yet: what an older Modelmill has set stays
            return changed
        changed += [line for line in _follow(mlflow_client, model, now) if line not in changed]
        if champion_state.read(store, model) == now:
            return changed


def _follow(mlflow_client: Any, model: str, now: Standing) -> list[str]:
    aliases = {name: str(version) for name, version in mlflow_client.get_registered_model(model).aliases.items()}
    changed = []
    for role in ROLES:
        candidate = getattr(now, role)
        old, new = aliases.get(role), candidate.version if candidate else None
        if old == new:
            continue
        if new is None:
            mlflow_client.delete_registered_model_alias(model, role)
        elif _get(mlflow_client, model, new) is not None:
            mlflow_client.set_registered_model_alias(model, role, new)
        else:
            changed.append(f"{role}: version {new} is no longer in MLflow")
            continue
        changed.append(f"{role}: {old or 'none'} -> {new or 'none'}")
    return changed + _witness(mlflow_client, model, now)


def _witness(mlflow_client: Any, model: str, now: Standing) -> list[str]:
    """Tag the champion with the log's newest entry, so that nobody shortens the log by writing to the store alone."""
    version = _get(mlflow_client, model, now.champion.version) if now.champion else None
    if version is None or version.tags.get(WITNESS) == now.log:
        return []
    mlflow_client.set_model_version_tag(model, version.version, WITNESS, now.log)
    return [f"champion: {WITNESS} is the newest entry of the log"]


def _get(mlflow_client: Any, model: str, version: str) -> Any:
    """Return a version, None if it is not there."""
    from mlflow.exceptions import MlflowException

    try:
        return mlflow_client.get_model_version(model, version)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
