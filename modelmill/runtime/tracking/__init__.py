"""MLflow: its address, the runs that steps log, and its registry. mlflow is imported only when it is used."""

from modelmill.runtime.tracking.aliases import follow
from modelmill.runtime.tracking.connection import (
    AGAIN,
    Unreachable,
    client,
    describe,
    identity,
    identity_of,
    prepare,
    redact,
    tracking_uri,
)
from modelmill.runtime.tracking.patience import patiently
from modelmill.runtime.tracking.registry import aliases, download_version, has_version, tags_of
from modelmill.runtime.tracking.runs import Logged, log_step, serve, step_run
from modelmill.runtime.tracking.versions import Version, registered

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
    "identity_of",
    "log_step",
    "patiently",
    "prepare",
    "redact",
    "registered",
    "serve",
    "step_run",
    "tags_of",
    "tracking_uri",
]
