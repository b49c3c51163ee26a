"""What can happen to a folder: killed writers, full disks, symbolic links."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelmill.store import StoreError, open_store
from modelmill.store.folder import FolderStore
from tests.store.helpers import UPLOAD, names_in

_MIB = 1 << 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


def test_a_writer_killed_in_the_middle_leaves_no_object(folder: Path, tmp_path: Path) -> None:
    store = FolderStore(f"file://{folder}")
    store.put("kept", b"old")
    for key in ("new", "kept"):
        # The writer waits for the end of a pipe that never comes.
        pipe = tmp_path / f"pipe-{key}"
        os.mkfifo(pipe)
        writer = subprocess.Popen([sys.executable, "-c", UPLOAD, store.uri, key, str(pipe)])
        with open(pipe, "wb") as source:
            source.write(b"x" * 5 * _MIB)
            source.flush()
            _wait_for(lambda: _bytes_below(folder / "tmp") >= 3 * _MIB)
            writer.send_signal(signal.SIGKILL)
            assert writer.wait(20) == -signal.SIGKILL
    assert list(store.list("")) == ["kept"]
    assert store.get("kept") == b"old"
    assert store.put_if_absent("new", b"by another writer")


def test_what_a_killed_writer_left_is_cleared_a_day_later(folder: Path) -> None:
    store = FolderStore(f"file://{folder}")
    store.check()
    for name, hours in (("old", 25), ("fresh", 1)):
        (folder / "tmp" / name).write_bytes(b"half")
        os.utime(folder / "tmp" / name, times=(time.time() - hours * 3600,) * 2)
    store.check()
    assert names_in(folder / "tmp") == ["fresh"]


def test_a_full_disk_is_told_and_leaves_the_store_as_it_was(full_disk: Path, tmp_path: Path) -> None:
    store = FolderStore(f"file://{full_disk}/store")
    store.put("kept", b"old")
    big = tmp_path / "big"
    big.write_bytes(b"x" * 8 * _MIB)
    for write in (
        lambda: store.upload("kept", big),
        lambda: store.put("new", big.read_bytes()),
        lambda: store.put_if_absent("new", big.read_bytes()),
        lambda: store.compare_and_swap("kept", big.read_bytes(), store.read("kept").tag),
    ):
        with pytest.raises(StoreError, match=rf"^--store {store.uri}: cannot be written \(No space left on device"):
            write()
    assert list(store.list("")) == ["kept"]
    assert store.get("kept") == b"old"
    assert names_in(full_disk / "store" / "tmp") == []
    store.put("small", b"still fits")


def test_a_link_out_of_the_store_is_refused(folder: Path, tmp_path: Path) -> None:
    store = FolderStore(f"file://{folder}")
    store.put("a/b", b"x")
    secret = tmp_path / "outside" / "secret"
    secret.parent.mkdir()
    secret.write_bytes(b"untouched")
    (folder / "objects" / "file").symlink_to(secret)
    (folder / "objects" / "folder").symlink_to(secret.parent)
    for key in ("file", "folder/secret", "folder/new"):
        for call in (
            lambda key=key: store.get(key),
            lambda key=key: store.open(key),
            lambda key=key: store.local_path(key),
            lambda key=key: store.put(key, b"x"),
            lambda key=key: store.put_if_absent(key, b"x"),
            lambda key=key: store.delete(key),
        ):
            with pytest.raises(StoreError, match="leads out of the store through a symbolic link"):
                call()
    assert names_in(secret.parent) == ["secret"]
    assert secret.read_bytes() == b"untouched"


def test_a_store_that_is_itself_behind_a_link_works(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    folder.symlink_to(tmp_path / "disk")
    store = open_store(f"file://{folder}")
    store.check()
    store.put("a/b", b"x")
    assert (tmp_path / "disk" / "objects" / "a" / "b").read_bytes() == b"x"
    assert list(store.list("a/")) == ["a/b"]


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match=r"file/store: cannot be written \(.*\); choose another with --store$"):
        FolderStore(f"file://{tmp_path}/file/store").check()


def _bytes_below(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def _wait_for(condition: object) -> None:
    deadline = time.monotonic() + 30
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "did not happen within 30 s"
        time.sleep(0.01)
