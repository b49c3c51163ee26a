"""The address of MLflow, and a client whose failures are one line."""

import contextlib
import logging
import os
import re
import shutil
import sqlite3
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modelmill.core import cache, digest
from modelmill.core.errors import ModelmillError, UserError, one_line
from modelmill.core.files import private_mode
from modelmill.store import Store

AGAIN = "; put that right and run the same command again: nothing is trained again"
_URI_VARIABLE = "MLFLOW_TRACKING_URI"
_DATABASE = "mlflow.db"
# Where an error comes from when the registry, its database or its file store is what failed.
_FOREIGN = frozenset({"mlflow", "sqlalchemy", "requests", "urllib3", "boto3", "botocore"})

# What says that the same request may succeed later.
_PASSING = re.compile(
    r"Connection (refused|reset|aborted)|RemoteDisconnected|Failed to resolve|[Tt]imed out|timeout exception"
    r"|error code (408|429|5\d\d)|(429 Client|5\d\d Server) Error|too many (429|5\d\d) error|database is locked"
)


class Unreachable(ModelmillError):
    """The registry does not answer, or says that it cannot answer now; it may later."""


def default_root(store: Store) -> Path | None:
    """Return the folder of the default registry, which is the folder store's; None if the user has named a server."""
    is_folder = store.uri.startswith("file://")
    return Path(store.uri.removeprefix("file://")) if is_folder and not os.environ.get(_URI_VARIABLE) else None


def database(root: Path) -> Path:
    """Return the file of the default registry."""
    return root / _DATABASE


def tracking_uri(store: Store) -> str:
    """Return `MLFLOW_TRACKING_URI`, else the URI of a database in the folder store.

    Raises:
        UserError: The store is no folder and no server is named.
    """
    configured = os.environ.get(_URI_VARIABLE)
    if configured:
        return configured
    root = default_root(store)
    if root is None:
        raise UserError(f"{store.uri}: set MLFLOW_TRACKING_URI to the MLflow server; only a folder store has its own")
    return f"sqlite:///{database(root)}"


def identity(store: Store) -> str:
    """Return the digest of the registry's address without credentials; `local` for the default, wherever it lies.

    Raises:
        UserError: The store is no folder and no server is named.
    """
    uri = tracking_uri(store)
    return identity_of(uri) if os.environ.get(_URI_VARIABLE) else "local"


def identity_of(uri: str) -> str:
    """Return the digest of a server's address without credentials."""
    return digest.of_bytes(redact(uri).rstrip("/").encode())


def describe(store: Store) -> str:
    """Ask the registry something, and return its address without credentials.

    Raises:
        UserError: No registry is configured.
        ModelmillError: It does not answer.
    """
    with client(store) as mlflow_client:
        mlflow_client.search_experiments(max_results=1)
    return redact(tracking_uri(store))


@contextlib.contextmanager
def client(store: Store) -> Iterator[Any]:
    """Give an `MlflowClient` of the registry, which is also the default of `mlflow`'s functions from here on.

    Raises:
        Unreachable: The registry does not answer; one line in place of what mlflow raises.
        ModelmillError: The registry refuses; one line in place of what mlflow raises.
    """
    uri = tracking_uri(store)
    configure()
    import mlflow

    # mlflow sets its logger's level when it is imported, which another library may have done before.
    logging.getLogger("mlflow").setLevel(os.environ["MLFLOW_LOGGING_LEVEL"].upper())
    was_configured = _URI_VARIABLE in os.environ
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    if not was_configured:
        # mlflow has put the default there, and the default would no longer be told from a choice of the user.
        os.environ.pop(_URI_VARIABLE, None)
    try:
        root = default_root(store)
        if root is not None and not is_created(store):
            create_database(root)
        yield mlflow.MlflowClient(uri, uri)
    except Exception as error:
        if not isinstance(error, OSError) and type(error).__module__.partition(".")[0] not in _FOREIGN:
            raise
        kind = Unreachable if _PASSING.search(str(error)) else ModelmillError
        raise kind(_unanswered(uri, error)) from error


def is_created(store: Store) -> bool:
    """Return False for a default registry that nothing was written to yet, else True."""
    root = default_root(store)
    return root is None or (root / _DATABASE).is_file()


def create_database(root: Path) -> None:
    """Make the default registry's database, whole or not at all.

    mlflow creates its tables one by one, and never gets over a process that was killed, or a disk that was full,
    in between; so it does that to a file of another name. That takes seconds, so an empty one is kept for later stores.
    """
    configure()
    import mlflow

    temporary = root / f"{_DATABASE}.{uuid.uuid4().hex}.tmp"
    template = cache.folder() / f"registry-{mlflow.__version__}.db"
    root.mkdir(parents=True, exist_ok=True)
    try:
        if not (_copy(template, temporary) and _is_sound(temporary)):
            temporary.unlink(missing_ok=True)
            mlflow.MlflowClient(f"sqlite:///{temporary}").search_experiments(max_results=1)
            _copy(temporary, template)
        temporary.chmod(private_mode())
        with contextlib.suppress(FileExistsError):  # another step was faster
            os.link(temporary, root / _DATABASE)
    finally:
        temporary.unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> bool:
    """Copy a file, whole or not at all; return whether that was possible."""
    partial = target.with_name(f"{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, partial)
        partial.replace(target)
    except OSError:
        partial.unlink(missing_ok=True)
        return False
    return True


def _is_sound(file: Path) -> bool:
    """Return whether a copy of an empty registry is one; what is in a cache may have been damaged."""
    try:
        with contextlib.closing(sqlite3.connect(file)) as connection:
            (said,) = connection.execute("PRAGMA quick_check").fetchone()
            return said == "ok" and bool(connection.execute("SELECT version_num FROM alembic_version").fetchall())
    except sqlite3.Error:
        return False


def redact(text: str) -> str:
    """Return a text without the user names, passwords and queries of the URIs in it."""
    return re.sub(r"\?[^\s'\")]+", "", re.sub(r"(\w://)[^/\s]*@", r"\1", text))


def prepare(store: Store) -> None:
    """Import mlflow and open the registry, so that what comes later need not wait for that.

    Raises:
        ModelmillError: The registry does not answer.
    """
    with client(store) as mlflow_client:
        mlflow_client.search_experiments(max_results=1)


def configure() -> None:
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
    """Return what failed, where, and what to do, on one line and without credentials."""
    text = redact(one_line(error))
    cause = re.search(r"\[Errno -?\d+\] [^'\")]+|Read timed out|timed out", text)
    if "Max retries exceeded" in text and cause:
        text = f"does not answer ({cause.group()})"
    hint = ""
    if re.search(r"error code 403|403 Client Error|status code 403", text):
        hint = "; does MLFLOW_SERVER_ALLOWED_HOSTS on the server list this name with its port?"
    return f"MLflow at {redact(uri)}: {text[:300]}{hint}{AGAIN}"
