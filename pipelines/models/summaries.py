"""What the registry holds of models and versions, as JSON."""

from typing import Any

from modelmill.champion.champion_state import Candidate, Standing
from modelmill.pipelines.models import differences
from modelmill.runtime.tracking import Version
from modelmill.store import Store


def of_model(name: str, now: Standing, known: list[Version]) -> dict[str, Any]:
    """Return where a model's versions stand.

    Args:
        name: The registered model's name.
        now: The state of its champion.
        known: The model's versions.
    """
    return {
        "model": name,
        "champion": _number(now.champion),
        "challenger": _number(now.challenger),
        "previous": _number(now.previous),
        "withdrawn": list(now.withdrawn),
        "versions": [one.version for one in known],
        "imported_from": next((one.imported_from for one in reversed(known) if one.imported_from), None),
    }


def of_version(store: Store, version: Version, now: Standing) -> dict[str, Any]:
    """Return where one version stands, and its metrics.

    Args:
        store: Where its evaluation is.
        version: The version.
        now: The state of the model's champion.
    """
    return {
        "version": version.version,
        "created": version.created,
        "aliases": list(version.aliases),
        "verified": version.is_verified,
        "withdrawn": version.version in now.withdrawn,
        "run_id": version.tags.get("modelmill.run_id"),
        "metrics": differences.metrics(store, version),
    }


def _number(candidate: Candidate | None) -> str | None:
    return candidate.version if candidate else None
