"""Fixtures that every kind of test may ask for."""

import atexit
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelmill.store import Store, open_store
from tests import mlflow_server as mlflow_servers
from tests import seaweedfs as seaweed
from tests import zygote
from tests.mlflow_server import MlflowServer
from tests.seaweedfs import SeaweedFS

# Models this small are slower with two threads, and the suite runs two tests at a time. Children inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Digests of the tests' files are nothing to keep; kernels are, which take long to compile. Workers inherit both.
if "XDG_CACHE_HOME" not in os.environ:
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path.home() / ".cache" / "modelmill" / "kernels"))
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="modelmill-test-cache-")
    atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)


@pytest.fixture(scope="session")
def seaweedfs() -> Iterator[SeaweedFS]:
    """One S3 store for the whole session; make a bucket of your own in it."""
    with seaweed.running() as server:
        yield server


@pytest.fixture
def forks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pythons that a test's own process starts have imported what they need: they are forks of the zygote."""
    monkeypatch.setattr(subprocess, "Popen", zygote.Popen)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A new folder store."""
    return open_store(f"file://{tmp_path / 'store'}")


@pytest.fixture
def bucket(seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> str:
    """URI of a bucket of its own, and the environment that reaches it, for this process and its children."""
    for name, value in seaweedfs.env.items():
        monkeypatch.setenv(name, value)
    return seaweedfs.create_bucket(f"b-{uuid.uuid4().hex}")


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB, which a write can fill; `mount -o remount,size=` makes it larger."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mount.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mount.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.fixture(scope="session")
def mlflow_server() -> Iterator[MlflowServer]:
    """One MLflow server for the session; register under a name of your own."""
    with mlflow_servers.running() as server:
        yield server
