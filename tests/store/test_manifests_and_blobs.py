"""What is in the store is checked when it is read: blobs against their names, manifests against their entries."""

from pathlib import Path

import pytest

from modelmill.core import digest
from modelmill.core.errors import CorruptError
from modelmill.store import Store, blobs, manifest
from modelmill.store.manifest import Entry, Manifest
from tests.store.helpers import names_in

_ABSENT = "0" * 64


def test_a_blob_is_named_by_its_bytes(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"some bytes")
    name = blobs.put_file(store, source)
    assert name == digest.of_file(source) == blobs.put_bytes(store, b"some bytes")
    assert list(store.list("blobs/")) == [f"blobs/{name[:2]}/{name}"]
    assert blobs.get_bytes(store, name) == b"some bytes"
    assert blobs.get_file(store, name, tmp_path / "new" / "copy").read_bytes() == b"some bytes"


def test_a_tampered_blob_is_refused(store: Store, tmp_path: Path) -> None:
    name = blobs.put_bytes(store, b"some bytes")
    store.put(blobs.key_of(name), b"same size!")
    with pytest.raises(CorruptError, match=f"{name} does not have the bytes"):
        blobs.get_bytes(store, name)
    with pytest.raises(CorruptError, match=f"{name} does not have the bytes"):
        blobs.get_file(store, name, tmp_path / "copy")


def test_a_missing_blob_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(CorruptError, match=f"{_ABSENT} is missing"):
        blobs.get_bytes(store, _ABSENT)
    with pytest.raises(CorruptError, match=f"{_ABSENT} is missing"):
        blobs.get_file(store, _ABSENT, tmp_path / "copy")
    assert names_in(tmp_path) in ([], ["store"])


def test_a_truncated_blob_is_written_again(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"some bytes")
    name = blobs.put_file(store, source)
    for put in (lambda: blobs.put_file(store, source), lambda: blobs.put_bytes(store, b"some bytes")):
        store.put(blobs.key_of(name), b"some")
        assert put() == name
        assert blobs.get_bytes(store, name) == b"some bytes"


def test_a_manifest_comes_back_with_its_files(store: Store, tmp_path: Path) -> None:
    made = _corpus(store, tmp_path)
    saved = manifest.save(store, made)
    assert saved == made.digest
    loaded = manifest.load(store, saved)
    assert loaded == made
    files = manifest.fetch(store, loaded.under("train"), tmp_path / "fetched")
    assert {path: file.read_bytes() for path, file in files.items()} == {"train/0.bin": b"zero", "train/1.bin": b"one"}


def test_a_manifest_is_not_whole_without_one_of_its_blobs(store: Store, tmp_path: Path) -> None:
    made = _corpus(store, tmp_path)
    assert manifest.is_whole(store, made)
    for entry in made.entries:
        key = blobs.key_of(entry.sha256)
        data = store.get(key)
        store.delete(key)
        assert not manifest.is_whole(store, made)
        store.put(key, data[:-1])
        assert not manifest.is_whole(store, made)
        store.put(key, data)
        assert manifest.is_whole(store, made)


def test_a_manifest_of_files_at_the_source_needs_no_blobs(store: Store) -> None:
    entry = Entry(path="part-0.parquet", sha256=_ABSENT, bytes=5, rows=1)
    assert manifest.is_whole(store, Manifest(kind="dataset", location="source", entries=[entry]))


@pytest.mark.parametrize(
    "data", [b"", b"not json", b"[]", b'{"kind": "secret"}', b'{"kind": "model", "schema_version": 2}', b"\xff"]
)
def test_what_is_no_manifest_is_refused(store: Store, data: bytes) -> None:
    with pytest.raises(CorruptError, match="not a Modelmill manifest"):
        manifest.load(store, blobs.put_bytes(store, data))


def _corpus(store: Store, folder: Path) -> Manifest:
    file = folder / "1.bin"
    file.write_bytes(b"one")
    entries = [
        manifest.add_bytes(store, b"zero", "train/0.bin", rows=4),
        manifest.add_file(store, file, "train/1.bin"),
        manifest.add_bytes(store, b"two", "test/0.bin"),
    ]
    return Manifest(kind="corpus", entries=entries, made_from={"dataset": _ABSENT}, info={"task": "tabular"})


@pytest.mark.parametrize("path", ["../outside", "/etc/outside", "a/../../outside", "a//b", "", "a/.", "a\0b"])
def test_a_manifest_that_names_a_file_outside_its_folder_is_refused(store: Store, tmp_path: Path, path: str) -> None:
    made = _corpus(store, tmp_path)
    hostile = made.model_dump()
    hostile["entries"][0]["path"] = path
    saved = blobs.put_bytes(store, digest.canonical_json(hostile))
    with pytest.raises(CorruptError, match="not a path below"):
        manifest.load(store, saved)
    hostile["location"] = "source"  # those are read where they are, by whatever name they have there
    assert Manifest.parse(digest.canonical_json(hostile)).entries[0].path == path
