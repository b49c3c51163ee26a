"""MLflow: where it is, what steps tell it, and what its registry holds. Imports mlflow only when it is used."""

from components.common.tracking.connection import client, describe, identity, redact, tracking_uri
from components.common.tracking.registry import Version, aliases, all_versions, download_version, has_version
from components.common.tracking.runs import Logged, log_step, step_run

__all__ = [
    "Logged",
    "Version",
    "aliases",
    "all_versions",
    "client",
    "describe",
    "download_version",
    "has_version",
    "identity",
    "log_step",
    "redact",
    "step_run",
    "tracking_uri",
]
