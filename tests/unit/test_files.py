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


HOLD = """
import os, signal
from modelmill.core.files import scratch_folder
with scratch_folder("run") as folder:
    print(folder, flush=True)
    input()
"""


def test_folders_of_killed_processes_go_and_those_of_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", HOLD]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, env=environment, **pipes) for _ in range(2)]  # type: ignore[call-overload]
    killed, alive = (Path(process.stdout.readline().strip()) for process in processes)
    processes[0].kill()
    processes[0].wait()
    unlocked, link, elsewhere = (tmp_path / name for name in ("modelmill-run-x", "modelmill-run-y", "elsewhere"))
    unlocked.mkdir()
    elsewhere.mkdir()
    (elsewhere / ".lock").touch()
    link.symlink_to(elsewhere)
    (tmp_path / "modelmill-run-z").symlink_to(tmp_path / "nothing")
    for folder in (killed, alive, elsewhere):
        os.utime(folder / ".lock", (0, 0))
    with scratch_folder("run") as mine:
        assert mine.is_dir() and not killed.exists()
        assert alive.exists() and unlocked.exists() and (elsewhere / ".lock").exists()
    assert not mine.exists()
    processes[1].communicate("\n")
    assert not alive.exists()
