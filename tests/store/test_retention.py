"""Writers beside `modelmill gc`: nothing that a writer counts on is deleted."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from modelmill.core.errors import ModelmillError
from modelmill.store import Store, blobs, open_store, retention
from modelmill.store.folder import FolderStore

DATA = b"the bytes of a shard"
DAY = 24 * 3600


@pytest.fixture
def folder(tmp_path: Path) -> FolderStore:
    return FolderStore(f"file://{tmp_path}/store")


def make_old(store: Store, key: str) -> None:
    path = store.local_path(key)
    assert path is not None
    os.utime(path, times=(time.time() - 2 * DAY,) * 2)


def is_young(store: Store, key: str) -> bool:
    found = store.stat(key)
    return found is not None and time.time() - found.modified < 10


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_a_blob_that_is_there_and_old_is_made_young_by_who_counts_on_it(folder: FolderStore, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(DATA)
    key = blobs.key_of(blobs.put_bytes(folder, DATA))
    for put in (lambda: blobs.put_bytes(folder, DATA), lambda: blobs.put_file(folder, file)):
        make_old(folder, key)
        put()
        assert is_young(folder, key)


def test_a_blob_that_is_young_is_not_written_again(folder: FolderStore) -> None:
    key = blobs.key_of(blobs.put_bytes(folder, DATA))
    before = folder.stat(key)
    time.sleep(0.02)
    blobs.put_bytes(folder, DATA)
    assert folder.stat(key) == before


def test_who_finds_a_blob_that_is_being_deleted_writes_it_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    key = blobs.key_of(blobs.put_bytes(store, DATA))
    monkeypatch.setattr(retention, "GRACE_SECONDS", -1)  # everything is old
    with retention.announcing(store) as announcer:
        announcer.announce([key])
        writer = in_thread(lambda: blobs.put_bytes(store, DATA))
        writer.join(1)
        assert writer.is_alive(), "it waits for the end of the batch"
        store.delete(key)
        announcer.announce(["blobs/another"])
        writer.join(20)
        assert not writer.is_alive()
    assert blobs.get_bytes(store, key.rpartition("/")[2]) == DATA
    assert store.size(retention.KEY) is None


def test_a_writer_and_a_gc_that_meet_leave_the_blob(folder: FolderStore) -> None:
    """Whichever is first; what gc does in `modelmill.pipelines.retention.deletion`, at the same moment."""
    key = blobs.key_of(blobs.put_bytes(folder, DATA))
    for _ in range(60):
        make_old(folder, key)
        meeting = threading.Barrier(2)

        def collect(meeting: threading.Barrier = meeting) -> None:
            with retention.announcing(folder) as announcer:
                announcer.announce([key])
                meeting.wait()
                found = folder.stat(key)
                if found is not None and found.modified < time.time() - DAY:
                    folder.delete(key)

        def write(meeting: threading.Barrier = meeting) -> None:
            meeting.wait()
            blobs.put_bytes(folder, DATA)

        threads = [in_thread(collect), in_thread(write)]
        for thread in threads:
            thread.join(20)
        assert folder.get(key) == DATA


def test_a_step_that_begins_waits_for_the_batch_that_does_not_know_it_and_no_longer(store: Store) -> None:
    retention.wait(store)
    with retention.announcing(store) as announcer:
        step = in_thread(lambda: retention.wait(store))
        step.join(0.5)
        assert step.is_alive()
        announcer.announce(["blobs/any"])
        step.join(20)
        assert not step.is_alive()


def test_a_gc_that_says_nothing_is_waited_for_no_longer_than_its_lease(
    folder: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "LEASE_SECONDS", 0.5)
    monkeypatch.setattr(retention.socket, "gethostname", lambda: "another-machine")
    with pytest.raises(RuntimeError), retention.announcing(folder) as announcer:
        announcer.is_lost = True  # as if it had been killed
        raise RuntimeError
    monkeypatch.undo()
    monkeypatch.setattr(retention, "LEASE_SECONDS", 0.5)
    assert folder.size(retention.KEY) is not None
    retention.wait(folder)
    with retention.announcing(folder):
        pass
    assert folder.size(retention.KEY) is None


CLAIM = """
import sys
from modelmill.store import open_store, retention

with retention.announcing(open_store(sys.argv[1])):
    print("claimed", flush=True)
    sys.stdin.read()
"""


def test_one_gc_at_a_time_and_one_that_was_killed_stops_nobody(folder: FolderStore) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", CLAIM, folder.uri], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None and other.stdout.readline() == "claimed\n"
    alive = f"another modelmill gc is at work .process {other.pid} on "
    with pytest.raises(ModelmillError, match=alive), retention.announcing(open_store(folder.uri)):
        pass
    other.kill()
    other.communicate()
    with retention.announcing(folder) as announcer:
        announcer.announce(["blobs/any"])
    assert folder.size(retention.KEY) is None


def test_a_gc_whose_place_was_taken_stops(folder: FolderStore) -> None:
    lost = "another modelmill gc has taken over"
    with pytest.raises(ModelmillError, match=lost), retention.announcing(folder) as announcer:
        folder.put(retention.KEY, b"{}")
        announcer.announce(["blobs/any"])
    assert folder.get(retention.KEY) == b"{}"
