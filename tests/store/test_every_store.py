"""What every store promises, checked against each of them."""

import gzip
import io
import random
import string
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.csv
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelmill.core import digest
from modelmill.store import KeyNotFound, Store, StoreError
from tests.store.helpers import names_in
from tests.store.processes import claim, count_up, in_processes

_MIB = 1 << 20


def test_an_object_is_read_back_as_written(store: Store) -> None:
    store.put("runs/1/run.json", b"old")
    store.put("runs/1/run.json", b"\0new\r\n")
    assert store.get("runs/1/run.json") == b"\0new\r\n"
    assert store.read("runs/1/run.json").data == b"\0new\r\n"
    assert store.size("runs/1/run.json") == 6


def test_an_empty_object_is_an_object(store: Store, tmp_path: Path) -> None:
    store.put("empty", b"")
    store.download("empty", tmp_path / "empty")
    with store.open("empty") as stream:
        assert (store.get("empty"), store.size("empty"), stream.read()) == (b"", 0, b"")
    assert (tmp_path / "empty").read_bytes() == b""


@pytest.mark.parametrize("method", ["get", "read", "open"])
def test_a_missing_key_is_named(store: Store, method: str) -> None:
    store.put("there/is", b"x")
    for key in ("gone", "there", "there/is/gone"):
        with pytest.raises(KeyNotFound, match=f"{store.uri}: no object {key}$"):
            getattr(store, method)(key)
        assert store.size(key) is None


def test_an_object_has_a_size_and_an_age_and_touch_makes_it_young(store: Store) -> None:
    store.put("there/is", b"abc")
    before = store.stat("there/is")
    assert before is not None and before.bytes == 3
    assert abs(before.modified - time.time()) < 10
    time.sleep(1.1)  # S3 counts seconds
    assert store.touch("there/is")
    after = store.stat("there/is")
    assert after is not None and after.bytes == 3 and after.modified > before.modified
    assert store.get("there/is") == b"abc"
    for key in ("gone", "there", "there/is/gone"):
        assert store.stat(key) is None
        assert not store.touch(key)
    assert list(store.list("")) == ["there/is"]


def test_a_missing_key_downloads_nothing(store: Store, tmp_path: Path) -> None:
    target = tmp_path / "into" / "target"
    target.parent.mkdir()
    target.write_bytes(b"before")
    with pytest.raises(KeyNotFound, match="no object gone"):
        store.download("gone", target)
    assert target.read_bytes() == b"before"
    assert names_in(target.parent) == ["target"]


def test_a_download_to_a_full_disk_leaves_no_half_file(full_disk: Path, store: Store) -> None:
    store.put("big", b"x" * 8 * _MIB)
    with pytest.raises(StoreError, match=r"cannot be written .No space left on device"):
        store.download("big", full_disk / "target")
    assert names_in(full_disk) == []


def test_delete_is_idempotent(store: Store) -> None:
    store.put("a/b", b"x")
    store.delete("a/b")
    store.delete("a/b")
    store.delete("never/was")
    store.put("c/d", b"x")
    store.delete("c")
    assert store.get("c/d") == b"x"
    store.delete("c/d")
    assert store.size("a/b") is None
    assert list(store.list("")) == []


def test_keys_are_listed_sorted_by_prefix(store: Store) -> None:
    keys = ["a/1", "a/2/x", "a-1", "a.1", "ab", "B/1", "é/1"]
    for key in keys:
        store.put(key, b"x")
    assert list(store.list("")) == sorted(keys)
    assert list(store.list("a")) == ["a-1", "a.1", "a/1", "a/2/x", "ab"]
    assert list(store.list("a/")) == ["a/1", "a/2/x"]
    assert list(store.list("a/2")) == ["a/2/x"]
    assert list(store.list("none/")) == []
    assert list(store.stats("a/")) == [(key, store.stat(key)) for key in ("a/1", "a/2/x")]


def test_a_listing_is_complete_beyond_one_page(store: Store) -> None:
    keys = [f"many/{n // 100:02}/{n:04}" for n in range(1005)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.put(key, b""), keys))
    assert list(store.list("many/")) == keys


@pytest.mark.parametrize("key", ["../x", "a/../../x", "/etc/passwd", "a//b", "a/./b", "", "a/", "a\\b", "a\0b"])
def test_a_key_that_is_no_relative_path_is_refused(store: Store, key: str, tmp_path: Path) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.put(key, b"x"),
        lambda: store.put_if_absent(key, b"x"),
        lambda: store.compare_and_swap(key, b"x", "tag"),
        lambda: store.upload(key, Path(__file__)),
        lambda: store.get(key),
        lambda: store.open(key),
        lambda: store.download(key, tmp_path / "target"),
        lambda: store.size(key),
        lambda: store.stat(key),
        lambda: store.touch(key),
        lambda: store.delete(key),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="not an object key"):
            call()
    assert list(store.list("")) == []


def test_a_large_file_goes_in_and_out_unchanged(store: Store, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    with open(source, "wb") as file:
        for _ in range(70):
            file.write(random.randbytes(_MIB))
        file.write(b"and a bit")
    target.write_bytes(b"to be replaced")
    store.upload("big/file", source)
    assert store.touch("big/file")
    store.download("big/file", target)
    assert store.size("big/file") == source.stat().st_size
    assert digest.of_file(target) == digest.of_file(source)
    with store.open("big/file") as stream:
        assert digest.of_stream(stream) == digest.of_file(source)
    assert not [name for name in names_in(tmp_path) if "part" in name]


def test_a_stream_serves_text_gzip_and_arrow_readers(store: Store) -> None:
    text = "".join(f"{n},{'é' * (n % 5)}\n" for n in range(20_000))
    store.put("data.csv", ("n,s\n" + text).encode())
    store.put("data.csv.gz", gzip.compress(text.encode()))
    with store.open("data.csv") as stream:
        assert pyarrow.csv.read_csv(stream).num_rows == 20_000
    with store.open("data.csv.gz") as stream, gzip.open(stream, "rt", encoding="utf-8") as lines:
        assert lines.read() == text
    with io.BufferedReader(store.open("data.csv")) as again:  # type: ignore[type-var]
        assert again.readline() == b"n,s\n"
        assert again.read(4) == b"0,\n1"
    with store.open("data.csv") as stream:
        stream.read(1)
    assert stream.closed


def test_a_swap_needs_the_tag_of_the_present_version(store: Store) -> None:
    assert not store.compare_and_swap("champion", b"one", "no-such-tag")
    assert store.size("champion") is None
    assert store.put_if_absent("champion", b"one")
    first = store.read("champion").tag
    assert store.compare_and_swap("champion", b"two", first)
    assert not store.compare_and_swap("champion", b"three", first)
    assert store.get("champion") == b"two"
    store.delete("champion")
    assert not store.compare_and_swap("champion", b"four", first)


def test_one_thread_of_many_wins_each_key(store: Store) -> None:
    # In the order of the keys, so that the writers of a key meet. All write the same bytes: who won may not be
    # guessed from what the store holds.
    keys = [f"lock/{turn:02}" for turn in range(25) for _ in range(8)]
    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(lambda key: store.put_if_absent(key, b"locked"), keys))
    assert [key for key, mine in zip(keys, won, strict=True) if mine] == sorted(set(keys))


def test_one_process_of_many_wins_each_key(store: Store, store_uri: str) -> None:
    rounds = 6
    won = in_processes(3, claim, store_uri, rounds)
    assert sorted(key for keys in won.values() for key in keys) == list(range(rounds))
    for process, keys in won.items():
        assert all(store.get(f"lock/{key}") == str(process).encode() for key in keys)


def test_no_update_of_acount_uper_is_lost(store: Store, store_uri: str) -> None:
    # A folder is so fast that writers seldom meet.
    times = 15 if store_uri.startswith("s3") else 500
    store.put("counter", b"0")
    in_processes(3, count_up, store_uri, times)
    assert store.get("counter") == str(3 * times).encode()


def test_a_reader_sees_an_object_whole(store: Store) -> None:
    """While one writes, each read finds all of one version."""
    versions = [bytes([65 + n]) * 300_000 for n in range(4)]
    store.put("object", versions[0])
    done = threading.Event()

    def write() -> None:
        for n in range(40):
            store.put("object", versions[n % 4])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    reads = 0
    while not done.is_set() or reads == 0:
        assert store.get("object") in versions
        reads += 1
    writer.join()


def test_check_leaves_nothing_behind(store: Store) -> None:
    store.check()
    store.check()
    assert list(store.list("")) == []


_SEGMENT = st.text(string.ascii_letters + string.digits + "-_.~ +=%&'()é語", min_size=1, max_size=12).filter(
    lambda text: text.strip(".") == text and text.strip() == text
)


@given(
    objects=st.dictionaries(st.tuples(_SEGMENT, _SEGMENT).map("/".join), st.binary(max_size=3000), max_size=5),
    missing=_SEGMENT,
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_objects_come_back_as_they_were(store: Store, objects: dict[str, bytes], missing: str) -> None:
    root = uuid.uuid4().hex
    for key, data in objects.items():
        store.put(f"{root}/{key}", data)
    assert list(store.list(f"{root}/")) == sorted(f"{root}/{key}" for key in objects)
    for key, data in objects.items():
        assert store.get(f"{root}/{key}") == data
        assert not store.put_if_absent(f"{root}/{key}", b"other")
        assert store.size(f"{root}/{key}") == len(data)
        store.delete(f"{root}/{key}")
        assert store.size(f"{root}/{key}") is None
    assert store.size(f"{root}/x/{missing}") is None
