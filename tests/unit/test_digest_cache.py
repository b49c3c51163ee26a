"""Digests of files that are kept: read once, and again when the file has changed in any way."""

import os
import threading
import time
from pathlib import Path

import pytest

from modelmill.core import digest
from modelmill.data import digest_cache, shards


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """The files whose content was read, with an empty cache and files that count as old at once."""
    read: list[Path] = []
    of_file = digest.of_file
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digest, "of_file", lambda path: read.append(path) or of_file(path))
    monkeypatch.setattr(digest_cache, "_RACY", -1)
    return read


def test_an_unchanged_file_is_read_once(tmp_path: Path, reads: list[Path]) -> None:
    file = tmp_path / "a.csv"
    file.write_text("a\n1\n")
    assert digest_cache.of_file(file) == digest_cache.of_file(file) == digest.of_bytes(b"a\n1\n")
    assert reads == [file]


def test_a_change_that_keeps_size_and_time_is_seen(tmp_path: Path, reads: list[Path]) -> None:
    file = tmp_path / "a.csv"
    file.write_text("a\n1\n")
    digest_cache.of_file(file)
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    file.write_text("a\n2\n")
    os.utime(file, ns=times)
    assert digest_cache.of_file(file) == digest.of_bytes(b"a\n2\n")


def test_another_file_of_the_same_size_in_its_place_is_seen(tmp_path: Path, reads: list[Path]) -> None:
    file, other = tmp_path / "a.csv", tmp_path / "b.csv"
    file.write_text("1")
    digest_cache.of_file(file)
    other.write_text("2")
    os.utime(other, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    other.replace(file)
    assert digest_cache.of_file(file) == digest.of_bytes(b"2")


def test_a_file_that_was_just_written_is_not_kept(
    tmp_path: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digest_cache, "_RACY", 3600 * 10**9)
    file = tmp_path / "a.csv"
    file.write_text("1")
    digest_cache.of_file(file)
    digest_cache.of_file(file)
    assert len(reads) == 2


def test_a_cache_that_cannot_be_written_or_is_broken_is_as_an_empty_one(
    tmp_path: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.csv"
    file.write_text("1")
    (tmp_path / "no folder").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "no folder"))
    assert digest_cache.of_file(file) == digest.of_bytes(b"1")
    broken = tmp_path / "broken" / "modelmill"
    broken.mkdir(parents=True)
    (broken / "digests.db").write_bytes(b"no database" * 100)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "broken"))
    assert digest_cache.of_file(file) == digest.of_bytes(b"1")


def test_threads_share_the_cache(tmp_path: Path, reads: list[Path]) -> None:
    files = [tmp_path / f"{number}.csv" for number in range(20)]
    for number, file in enumerate(files):
        file.write_text(str(number))
    for _ in range(2):
        threads = [threading.Thread(target=digest_cache.of_file, args=[file]) for file in files]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(reads) == sorted(files)


def test_names_are_listed_without_reading_and_a_shard_is_hashed_once(tmp_path: Path, reads: list[Path]) -> None:
    (tmp_path / "data").mkdir()
    for number in range(3):
        (tmp_path / "data" / f"{number}.csv").write_text(f"a\n{number}\n")
    named = shards.find(str(tmp_path / "data"), "auto", hashed=False)
    assert [shard.path for shard in named] == ["0.csv", "1.csv", "2.csv"] and not reads
    assert {shard.tag for shard in named} == {""} and {shard.bytes for shard in named} == {4}
    for _ in range(3):
        hashed = shards.find(str(tmp_path / "data"), "auto")
    assert len(reads) == 3
    assert shards.read(named[0], hashed[0].tag)[1] == hashed[0].tag


def test_a_shard_that_changes_between_hashing_and_reading_is_refused(tmp_path: Path, reads: list[Path]) -> None:
    file = tmp_path / "a.csv"
    file.write_text("a\n1\n")
    (shard,) = shards.find(str(file), "auto")
    time.sleep(0.01)
    file.write_text("a\n2\n")
    with pytest.raises(Exception, match="changed since it was validated"):
        shards.read(shard)
