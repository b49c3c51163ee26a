"""A real PostgreSQL for tests: Debian's, in a folder that goes with it, on a free loopback port."""

import contextlib
import importlib.util
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.mlflow_server import free_port
from tests.server_process import serving

_USER = "postgres"
_READY_SECONDS = 30


@contextlib.contextmanager
def running() -> Iterator[str]:
    """Start a server and wait until it listens; yields the URI of an empty database."""
    with tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as name:
        folder, port, owner = Path(name), free_port(), pwd.getpwnam(_USER)
        shutil.chown(folder, owner.pw_uid, owner.pw_gid)
        data = folder / "data"
        initdb = [_tool("initdb"), "--pgdata", data, "--username", _USER, "--auth", "trust", "--no-sync"]
        subprocess.run(initdb, user=_USER, group=owner.pw_gid, cwd=folder, check=True, capture_output=True)
        options = ["-D", data, "-p", port, "-k", folder, "-h", "127.0.0.1", "-c", "fsync=off"]
        command = ["setpriv", f"--reuid={_USER}", f"--regid={owner.pw_gid}", "--clear-groups", _tool("postgres")]
        with serving([*command, *map(str, options)], folder, {}, lambda: _listens(port), _READY_SECONDS):
            yield f"postgresql+psycopg2://{_USER}@127.0.0.1:{port}/postgres"


def dump(uri: str) -> str:
    """All that a database of `running` holds, as SQL."""
    port = uri.rpartition(":")[2].partition("/")[0]
    command = [_tool("pg_dump"), "--host=127.0.0.1", f"--port={port}", f"--username={_USER}", "postgres"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def driver(folder: Path) -> dict[str, str]:
    """What a Python process needs in its environment to talk to PostgreSQL."""
    if importlib.util.find_spec("psycopg2") is None:
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
        subprocess.run([*install, "psycopg2-binary==2.9.13"], check=True)
    return {"PYTHONPATH": str(folder)}


def _tool(name: str) -> str:
    """Debian keeps the server's programs off the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else str(shutil.which(name) or name)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
