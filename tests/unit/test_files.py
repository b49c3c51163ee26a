"""Files and folders of this user: who may read them, and what killed processes leave."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from modelmill.core.files import scratch_folder
from modelmill.runtime.tracking import connection
from modelmill.store import open_store

WRITE = """
import os
os.umask({umask})
from modelmill.store import open_store
store = open_store("file://{folder}")
store.put("runs/1/run.json", b"x")
store.put("blobs/aa/aaaa", b"x")
"""


@pytest.mark.parametrize(("umask", "record", "blob"), [(0o022, 0o640, 0o644), (0o077, 0o600, 0o600), (0, 0o640, 0o644)])
def test_records_are_not_for_every_user_and_the_umask_holds(tmp_path: Path, umask: int, record: int, blob: int) -> None:
    subprocess.run([sys.executable, "-c", WRITE.format(umask=umask, folder=tmp_path)], check=True)
    objects = tmp_path / "objects"
    assert (objects / "runs" / "1" / "run.json").stat().st_mode & 0o777 == record
    assert (objects / "blobs" / "aa" / "aaaa").stat().st_mode & 0o777 == blob


def test_the_database_of_models_is_not_for_every_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    connection.describe(open_store(f"file://{tmp_path}"))
    assert (tmp_path / "mlflow.db").stat().st_mode & 0o007 == 0


def test_folders_of_killed_processes_go_and_those_of_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    left, live = tmp_path / f"modelmill-run-{ended.pid}-x", tmp_path / f"modelmill-run-{os.getpid()}-x"
    for folder in (left, live, tmp_path / "modelmill-run-x"):
        folder.mkdir()
    with scratch_folder("run") as mine:
        assert mine.is_dir() and not left.exists() and live.exists() and (tmp_path / "modelmill-run-x").exists()
    assert not mine.exists()
