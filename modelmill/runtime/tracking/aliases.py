"""MLflow's aliases follow the standing, which is what counts: in MLflow the last writer of an alias wins."""

from typing import Any

from modelmill.champion import champion_state
from modelmill.champion.champion_state import Standing
from modelmill.runtime.tracking.versions import WITNESS
from modelmill.store import Store

ROLES = ("champion", "challenger", "previous")


def follow(mlflow_client: Any, store: Store, model: str) -> list[str]:
    """Point the aliases to where the standing says, and keep the log's newest entry as a tag of the champion.

    Of two that do this at once the one with the older standing may write last; it then finds the newer one and goes on.
    One that is killed in between leaves them behind until the next decision or `modelmill registry repair`.

    Returns:
        What was changed, one line each; what cannot be, because a version is no longer in MLflow, is said there too.
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
    """A second place that knows the log, so that one who can write to the store alone cannot shorten it unnoticed."""
    version = _get(mlflow_client, model, now.champion.version) if now.champion else None
    if version is None or version.tags.get(WITNESS) == now.log:
        return []
    mlflow_client.set_model_version_tag(model, version.version, WITNESS, now.log)
    return [f"champion: {WITNESS} is the newest entry of the log"]


def _get(mlflow_client: Any, model: str, version: str) -> Any:
    """None if it is not there."""
    from mlflow.exceptions import MlflowException

    try:
        return mlflow_client.get_model_version(model, version)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
