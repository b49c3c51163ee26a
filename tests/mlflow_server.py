"""A real MLflow server for tests: SQLite or a given database, artifacts through it or in a bucket, a free port."""

import contextlib
import socket
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modelmill.runtime.tracking import connection
from tests.server_process import serving

_READY_SECONDS = 180


@dataclass(frozen=True)
class MlflowServer:
    port: int

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def running(
    port: int | None = None, bucket: str = "", database: str = "", environment: dict[str, str] | None = None
) -> Iterator[MlflowServer]:
    """Start a server, wait until it answers, and end it with everything it wrote.

    Args:
        bucket: a URI to which clients send artifacts themselves.
        database: URI of one, in place of SQLite. environment: of the server, on top of its own.
    """
    with tempfile.TemporaryDirectory(prefix="mlflow-", ignore_cleanup_errors=True) as name:
        server = MlflowServer(port or free_port())
        command = [sys.executable, "-m", "mlflow", "server", *_options(Path(name), server.port, bucket)]
        if database:
            command += [f"--backend-store-uri={database}"]
        else:
            # A server that makes its tables while it answers says 503 for as long as a busy disk takes.
            connection.create_database(Path(name))
        quiet = {
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
            # Five more processes for jobs that nobody gives it.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            **(environment or {}),
        }
        with serving(command, Path(name), quiet, lambda: _answers(server), _READY_SECONDS):
            yield server


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _options(folder: Path, port: int, bucket: str) -> list[str]:
    itself = [f"--artifacts-destination={folder}/artifacts", "--serve-artifacts"]
    return [
        f"--backend-store-uri=sqlite:///{folder}/mlflow.db",
        *([f"--default-artifact-root={bucket}", "--no-serve-artifacts"] if bucket else itself),
        "--host=127.0.0.1",
        f"--port={port}",
        "--workers=1",
    ]


def _answers(server: MlflowServer) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with contextlib.suppress(urllib.error.URLError, OSError), opener.open(f"{server.uri}/health", timeout=2):
        return True
    return False
