"""MLflow: where it is, what steps tell it, and what its registry holds. Imports mlflow only when it is used."""

from components.common.tracking.aliases import follow
from components.common.tracking.connection import AGAIN, Unreachable, client, describe, identity, redact, tracking_uri
from components.common.tracking.patience import patiently
from components.common.tracking.registry import aliases, download_version, has_version
from components.common.tracking.runs import Logged, log_step, step_run
from components.common.tracking.versions import Version, registered

__all__ = [
    "AGAIN",
    "Logged",
    "Unreachable",
    "Version",
    "aliases",
    "client",
    "describe",
    "download_version",
    "follow",
    "has_version",
    "identity",
    "log_step",
    "patiently",
    "redact",
    "registered",
    "step_run",
    "tracking_uri",
]
